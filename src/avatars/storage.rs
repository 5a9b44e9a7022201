//! Where avatars are kept: a folder, or a bucket of an S3 server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;

use futures_util::future::{join_all, try_join};
use futures_util::{TryFutureExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt,
    PutOptions, RetryConfig,
};

use super::image::Avatar;
use super::name::{AvatarName, ObjectName, Size};
use crate::clock::Timestamp;
use crate::config::settings::AvatarStore;

/// How long browsers and caches may keep an object: for ever, as its name is made of its content.
pub const CACHING: &str = "public, max-age=31536000, immutable";

/// How long one call may take, with its repetitions.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long listing may take: a folder is read as a whole.
const LIST_DEADLINE: Duration = Duration::from_secs(30);

/// Longest wait for a connection to an S3 server.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Repetitions of a request that an S3 server did not answer properly.
const REPETITIONS: usize = 2;

/// Our own pictures are far smaller: what is larger was put there by somebody else.
const LARGEST_OBJECT: u64 = 4 << 20;

/// Why an object is not stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The settings cannot work.
    #[error("avatars.store cannot be used: {0}")]
    Misconfigured(String),
    /// The folder or the S3 server said no.
    #[error("the store of pictures failed: {0}")]
    Failed(String),
    /// No answer in time.
    #[error("the store of pictures did not answer in time")]
    Timeout,
    /// The object was not written by us.
    #[error("the object is larger than any that is stored here")]
    TooLarge,
}

/// How far a listing has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(Path);

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Our objects in it.
    pub objects: Vec<Kept>,
    /// Where the next part begins; `None` if this is the last.
    pub next: Option<Mark>,
}

/// An object that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: ObjectName,
    /// When it was stored last, by the place's own clock.
    pub modified: Timestamp,
}

/// The place of all avatars. Cheap to clone.
#[derive(Clone)]
pub struct AvatarStorage {
    objects: Arc<dyn ObjectStore>,
    folder: Path,
    /// Whether the place keeps headers with the objects, for those who read it directly.
    keeps_headers: bool,
}

impl AvatarStorage {
    /// Prepares the place that the settings name. Nothing is asked yet, and a folder is made with
    /// its first picture.
    ///
    /// # Errors
    /// [`StorageError::Misconfigured`].
    pub fn open(settings: &AvatarStore) -> Result<Self, StorageError> {
        let refused =
            |error: &dyn std::fmt::Display| StorageError::Misconfigured(error.to_string());
        match settings {
            AvatarStore::File(folder) => {
                let folder = absolute(folder).map_err(|error| refused(&error))?;
                Ok(Self {
                    // On the disk before a person's row says that it is there.
                    objects: Arc::new(LocalFileSystem::new().with_fsync(true)),
                    folder: Path::from_absolute_path(folder).map_err(|error| refused(&error))?,
                    keeps_headers: false,
                })
            }
            AvatarStore::S3 { bucket, prefix, endpoint, region, access_key, secret_access_key } => {
                let retry = RetryConfig {
                    backoff: BackoffConfig::default(),
                    max_retries: REPETITIONS,
                    retry_timeout: DEADLINE,
                };
                let options = ClientOptions::new()
                    .with_timeout(DEADLINE)
                    .with_connect_timeout(CONNECT_LIMIT)
                    // The settings allow http to this machine alone.
                    .with_allow_http(endpoint.as_ref().is_some_and(|url| url.scheme() == "http"));
                let mut builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    // Pictures go two by two, and not every S3 server removes several at once.
                    .with_disable_bulk_delete(true)
                    .with_client_options(options)
                    .with_retry(retry);
                if let Some(endpoint) = endpoint {
                    builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
                }
                if let Some(region) = region {
                    builder = builder.with_region(region);
                }
                if let (Some(key), Some(secret)) = (access_key, secret_access_key) {
                    builder = builder
                        .with_access_key_id(key.expose())
                        .with_secret_access_key(secret.expose());
                }
                Ok(Self {
                    objects: Arc::new(builder.build().map_err(|error| refused(&error))?),
                    folder: Path::parse(prefix).map_err(|error| refused(&error))?,
                    keeps_headers: true,
                })
            }
        }
    }

    /// Stores both pictures of an avatar, each wholly or not at all.
    ///
    /// # Errors
    /// [`StorageError`]; then one of them may be there.
    pub async fn put(&self, name: AvatarName, avatar: &Avatar) -> Result<(), StorageError> {
        let both = try_join(
            self.put_object(name.object(Size::Large), &avatar.large),
            self.put_object(name.object(Size::Small), &avatar.small),
        );
        in_time(DEADLINE, both.map_ok(|((), ())| ())).await
    }

    async fn put_object(&self, name: ObjectName, content: &[u8]) -> Result<(), Error> {
        let mut options = PutOptions::default();
        if self.keeps_headers {
            options.attributes = Attributes::from_iter([
                (Attribute::ContentType, name.format().content_type()),
                (Attribute::CacheControl, CACHING),
            ]);
        }
        self.objects.put_opts(&self.place(name), content.to_vec().into(), options).await?;
        Ok(())
    }

    /// The content of an object; `None` if there is no such object.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn get(&self, name: ObjectName) -> Result<Option<Bytes>, StorageError> {
        let place = self.place(name);
        let reading = async {
            let found = match self.objects.get(&place).await {
                Err(Error::NotFound { .. }) => return Ok(None),
                found => found?,
            };
            if found.meta.size > LARGEST_OBJECT {
                return Ok(Some(None));
            }
            Ok(Some(Some(found.bytes().await?)))
        };
        match in_time(DEADLINE, reading).await? {
            Some(None) => Err(StorageError::TooLarge),
            Some(content) => Ok(content),
            None => Ok(None),
        }
    }

    /// Whether both pictures of an avatar are there.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn has(&self, name: AvatarName) -> Result<bool, StorageError> {
        let places = Size::ALL.map(|size| self.place(name.object(size)));
        let both = join_all(places.iter().map(|place| self.objects.head(place)));
        in_time(DEADLINE, async {
            for found in both.await {
                match found {
                    Ok(_) => {}
                    Err(Error::NotFound { .. }) => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            Ok(true)
        })
        .await
    }

    /// The next objects in the order of their names, at most `most`, beginning behind `after`. What is
    /// not named as we name objects belongs to somebody else, and is not told.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn list(&self, after: Option<&Mark>, most: usize) -> Result<Page, StorageError> {
        let mut objects = match after {
            Some(Mark(place)) => self.objects.list_with_offset(Some(&self.folder), place),
            None => self.objects.list(Some(&self.folder)),
        };
        let reading = async {
            // An S3 server tells in order; a folder does not, so all of its names are looked at.
            let mut found = BTreeMap::new();
            while let Some(object) = objects.try_next().await? {
                found.insert(object.location.clone(), object.last_modified);
                if found.len() > most {
                    found.pop_last();
                    if self.keeps_headers {
                        break;
                    }
                }
            }
            Ok(found)
        };
        let found = in_time(LIST_DEADLINE, reading).await?;
        let is_full = found.len() == most;
        let next = found.last_key_value().filter(|_| is_full).map(|(place, _)| Mark(place.clone()));
        let ours = found.into_iter().filter_map(|(place, modified)| {
            let name = ObjectName::parse(place.filename()?)?;
            // What lies in a folder below was not put there by us.
            (self.place(name) == place).then(|| Kept {
                name,
                modified: Timestamp::from_millis(modified.timestamp_millis()),
            })
        });
        Ok(Page { objects: ours.collect(), next })
    }

    /// Removes an object, if it is still as old as that.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn remove_old(
        &self,
        name: ObjectName,
        before: Timestamp,
    ) -> Result<bool, StorageError> {
        let place = self.place(name);
        in_time(DEADLINE, async {
            let found = match self.objects.head(&place).await {
                Err(Error::NotFound { .. }) => return Ok(false),
                found => found?,
            };
            if Timestamp::from_millis(found.last_modified.timestamp_millis()) >= before {
                return Ok(false);
            }
            match self.objects.delete(&place).await {
                Err(Error::NotFound { .. }) => Ok(false),
                removed => removed.map(|()| true),
            }
        })
        .await
    }

    /// Removes both pictures of an avatar, as far as they are there.
    ///
    /// # Errors
    /// [`StorageError`]; then one or both may be left.
    pub async fn remove(&self, name: AvatarName) -> Result<(), StorageError> {
        let places = Size::ALL.map(|size| self.place(name.object(size)));
        let both = join_all(places.iter().map(|place| self.objects.delete(place)));
        in_time(DEADLINE, async {
            for removed in both.await {
                match removed {
                    Ok(()) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
        .await
    }

    fn place(&self, name: ObjectName) -> Path {
        self.folder.clone().join(name.to_string())
    }
}

/// The folder from the root on, without `..`, though it need not be there yet.
fn absolute(folder: &std::path::Path) -> std::io::Result<PathBuf> {
    let folder = std::path::absolute(folder)?;
    let found = folder.ancestors().find_map(|ancestor| {
        let missing = folder.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(missing))
    });
    Ok(found.unwrap_or(folder))
}

async fn in_time<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, StorageError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => answer.map_err(|error| StorageError::Failed(error.to_string())),
        Err(_) => Err(StorageError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avatars::image::Format;
    use crate::store::model::UserId;

    #[actix::test]
    async fn what_is_put_into_a_folder_is_got_until_it_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("100% new (für #1)/pictures~");
        std::fs::create_dir(parent.path().join("beside")).unwrap();
        let roundabout = parent.path().join("beside/../100% new (für #1)/pictures~");
        let storage = AvatarStorage::open(&AvatarStore::File(roundabout)).unwrap();
        let avatar =
            Avatar { format: Format::Jpeg, large: b"large".to_vec(), small: b"small".to_vec() };
        let name = AvatarName::new(UserId::new(Timestamp::from_seconds(1)), &avatar);
        let [large, small] = Size::ALL.map(|size| name.object(size));
        assert_eq!(storage.get(large).await, Ok(None));
        storage.remove(name).await.unwrap();

        storage.put(name, &avatar).await.unwrap();
        storage.put(name, &avatar).await.unwrap();
        assert_eq!(storage.get(large).await, Ok(Some(Bytes::from_static(b"large"))));
        assert_eq!(storage.get(small).await, Ok(Some(Bytes::from_static(b"small"))));
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, [small.to_string(), large.to_string()]);

        std::fs::write(folder.join(small.to_string()), vec![0; 5 << 20]).unwrap();
        assert_eq!(storage.get(small).await, Err(StorageError::TooLarge));
        storage.remove(name).await.unwrap();
        assert_eq!(storage.get(large).await, Ok(None));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[actix::test]
    async fn a_folder_that_cannot_be_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let storage = AvatarStorage::open(&AvatarStore::File(file)).unwrap();
        let avatar = Avatar { format: Format::Png, large: vec![1], small: vec![2] };
        let name = AvatarName::new(UserId::new(Timestamp::from_seconds(1)), &avatar);
        assert!(matches!(storage.put(name, &avatar).await, Err(StorageError::Failed(_))));
    }
}
