//! Access tokens: signed with a key that was parsed once, verified with its public half.

use std::hint::black_box;

use actix_web::rt::SystemRunner;
use criterion::Criterion;
use latchkey::clock::Timestamp;
use latchkey::protocol::jwt::{ACCESS_TOKEN, AccessClaims, Algorithm};
use latchkey::protocol::key::{self, SigningKey, VerificationKey};
use latchkey::protocol::random;
use latchkey::store::model::{FIRST_PARTY, Role, SessionId, UserId};

use crate::measure::measure;

pub(crate) fn bench(criterion: &mut Criterion, system: &SystemRunner) {
    let claims = claims();
    let mut group = criterion.benchmark_group("access_token");
    for algorithm in Algorithm::ALL {
        let der = key::generate(algorithm, 2048).expect("a key can be made");
        let signer = SigningKey::from_pkcs8(&der).expect("a new key is read");
        let verifier = VerificationKey::new(algorithm, &signer.public().jwk)
            .expect("the public half of a new key is read");
        let token = signer.sign(ACCESS_TOKEN, &claims);
        let verify =
            |token: &str| key::verify::<AccessClaims>(token, ACCESS_TOKEN, |_| Some(&verifier));
        assert_eq!(verify(&token), Ok(claims.clone()));

        measure(&mut group, system, &format!("sign/{algorithm}"), 1, |_| async {
            black_box(signer.sign(ACCESS_TOKEN, black_box(&claims)));
        });
        measure(&mut group, system, &format!("verify/{algorithm}"), 1, |_| async {
            assert!(black_box(verify(black_box(&token))).is_ok());
        });
    }
}

/// Those of a person's cookie.
fn claims() -> AccessClaims {
    let now = Timestamp::from_seconds(1_800_000_000);
    AccessClaims {
        iss: "https://auth.example.com".to_owned(),
        sub: UserId::new(now),
        aud: "https://auth.example.com".to_owned(),
        client_id: FIRST_PARTY.to_owned(),
        scope: "openid profile email".to_owned(),
        exp: now.seconds() + 900,
        iat: now.seconds(),
        jti: random::text::<16>(),
        sid: SessionId(random::uuid_v7(now)),
        auth_time: now.seconds(),
        username: Some("rivka".to_owned()),
        role: Some(Role::User),
    }
}
