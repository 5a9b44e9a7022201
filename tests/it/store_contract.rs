//! What [`latchkey::store`] promises, asked of both backends.
//!
//! A backend's module implements [`Database`], has `fresh_settings()` for an empty database and
//! `fresh_store()` for a migrated one, and calls `store_contract!()`: then each case is a test of its
//! own there, such as `sqlite::an_older_generation_does_not_move`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "nobody uses this binary as a library")]

pub mod accounts;
pub mod administration;
pub mod audit;
pub mod avatars;
pub mod batches;
pub mod changes;
pub mod clients;
pub mod creation;
pub mod deliveries;
pub mod expiry;
pub mod families;
pub mod fixtures;
pub mod grants;
pub mod keys;
pub mod links;
pub mod migrations;
pub mod odd_text;
pub mod people;
pub mod races;
pub mod revocation;
pub mod sign_in;
pub mod trail;

use latchkey::config::settings::Store as StoreSettings;

/// A database that exists until this is dropped, seen past the store.
pub trait Database {
    /// How to open it.
    fn settings(&self) -> &StoreSettings;

    /// Runs a statement that both dialects understand.
    async fn execute(&self, sql: &str);

    /// The first column of the first row.
    async fn number(&self, sql: &str) -> i64;
}

/// Makes a test of every case, with this module's `fresh_store` and `fresh_settings`.
macro_rules! store_contract {
    () => {
        $crate::store_contract::store_contract! { @with_store
            accounts::{
                a_display_name_is_set_and_cleared,
                a_changed_name_leaves_a_history,
                the_same_name_again_writes_nothing,
                a_name_in_another_case_is_not_held,
                between_two_changes_lies_the_cooldown,
                a_taken_name_is_not_taken_over,
                a_former_name_is_held_against_others_and_open_to_its_owner,
                without_a_hold_a_former_name_is_free_at_once,
                names_are_held_no_longer_than_they_are_to_be,
                of_many_who_want_one_name_one_gets_it,
                a_newcomer_and_a_change_do_not_get_the_same_name,
                of_many_changes_of_one_person_one_comes_through,
                of_two_who_swap_their_names_nobody_fails,
                a_deleted_person_leaves_a_tombstone,
                names_of_a_deleted_person_are_held_for_nobody,
                deletion_empties_what_the_trail_keeps_apart,
                only_a_live_session_of_an_active_person_deletes,
                the_last_active_admin_stays,
                of_two_admins_who_go_at_once_one_stays,
                a_deletion_leaves_nothing_behind_whatever_happens_beside_it,
                nothing_brings_a_deleted_person_back,
                sessions_are_listed_by_their_last_use,
                all_sessions_but_one_end,
            }
            administration::{
                a_role_is_given_and_taken_but_never_the_last_admins,
                the_first_admin_is_made_once,
                of_two_admins_who_stop_each_other_one_stays,
                a_locked_person_is_kept_out_until_they_are_unlocked,
                an_administrator_deletes_whoever_is_locked,
                a_session_is_opened_that_is_over_when_it_says,
                sessions_that_were_opened_before_a_moment_end_step_by_step,
                of_two_who_claim_a_request_one_does_it,
                a_request_that_was_made_is_answered_again_and_not_done_again,
            }
            audit::{
                an_entry_is_read_as_it_was_written,
                entries_come_newest_first_and_no_more_than_asked,
                personal_values_are_kept_apart,
            }
            avatars::{
                an_avatar_fills_what_is_empty,
                an_avatar_that_is_there_stays,
                only_an_active_person_gets_an_avatar,
                of_two_avatars_at_once_one_is_entered,
                an_avatar_is_set_replaced_and_removed,
                what_changes_nothing_of_an_avatar_is_not_audited,
                only_an_active_person_changes_an_avatar,
                of_two_changes_of_an_avatar_each_learns_what_it_replaced,
                avatars_in_use_are_told_from_others,
            }
            batches::{
                a_batch_is_one_commit_and_each_that_runs_alone_another,
                a_failing_operation_fails_alone,
                answers_come_in_the_order_of_the_batch,
                an_empty_batch_has_no_answers,
                every_read_is_counted,
            }
            changes::{
                what_others_change_is_told,
                what_is_changed_by_hand_is_told,
                clients_that_are_changed_here_are_told,
                what_each_sign_in_writes_is_not_told,
            }
            clients::{
                a_client_is_read_as_it_was_registered,
                a_taken_id_is_not_registered_again,
                the_id_of_a_removed_client_is_taken_while_its_tokens_live,
                of_two_who_register_an_id_one_gets_it,
                a_client_is_changed_by_whoever_knows_it,
                of_two_who_change_a_client_one_does,
                a_secret_is_rotated_with_an_overlap_or_without,
                a_removed_client_leaves_a_revocation_and_no_consent,
            }
            creation::{
                a_person_is_created_with_identity_session_and_audit,
                a_spent_ticket_creates_nobody,
                a_taken_identity_creates_nobody,
                a_taken_name_creates_nobody,
                a_held_name_creates_nobody_until_the_hold_is_over,
                a_deleted_person_leaves_the_name_free,
                an_address_told_twice_is_kept_once,
                creation_can_end_another_session,
                a_creation_that_fails_leaves_nothing,
                refusals_of_a_creation_come_in_order,
            }
            deliveries::{
                the_end_of_a_session_is_to_be_told,
                every_way_to_end_a_session_is_told,
                the_end_of_an_account_is_to_be_told,
                a_former_client_is_not_told,
                a_delivery_is_taken_by_one,
                a_delivery_is_due_again_when_its_lease_is_over,
                a_delivery_that_is_given_back_is_due_at_once,
                a_delivery_is_settled_or_tried_again,
            }
            expiry::{
                what_nobody_needs_is_removed,
                what_is_needed_stays,
                families_are_walked_in_bounded_steps,
                private_halves_are_wiped,
            }
            families::{
                a_due_family_moves,
                an_older_generation_does_not_move,
                a_family_does_not_move_within_its_grace,
                a_family_moves_on_after_lost_commits,
                a_generation_that_no_row_can_hold_does_not_move,
                an_unknown_family_does_not_move,
                a_revoked_family_does_not_move,
                an_expired_family_does_not_move,
                only_an_active_person_moves_a_family,
                live_families_are_those_not_revoked,
            }
            grants::{
                a_code_opens_its_family,
                a_replayed_code_ends_what_it_gave,
                who_is_not_allowed_gets_nothing_for_a_code,
                a_consent_must_be_there_if_the_code_needs_one,
                of_two_with_one_code_in_a_batch_one_opens,
                a_redemption_that_fails_fails_alone,
                of_many_who_redeem_a_code_one_opens,
                batches_of_codes_do_not_wait_for_each_other_in_a_circle,
                a_session_that_ends_takes_codes_with_it_that_are_being_redeemed,
                a_withdrawal_or_deletion_takes_codes_with_it_that_are_being_redeemed,
                a_ticket_that_causes_nothing_is_spent_once,
                consents_add_up,
                consents_given_at_once_add_up,
                a_consent_is_given_in_a_live_session_by_a_fresh_ticket,
                a_consent_and_the_end_of_its_client_do_not_miss_each_other,
                a_withdrawn_consent_ends_every_grant,
                apps_are_those_with_a_consent_or_a_live_grant,
                grants_are_read_with_their_people_and_their_addresses,
                a_single_token_is_refused,
            }
            keys::{
                the_first_key_is_staged,
                a_key_is_staged_once,
                algorithms_do_not_stand_in_each_others_way,
                a_retired_key_is_nobodys_newest,
                a_staged_key_is_activated_once,
                a_retired_key_is_not_activated,
                a_key_is_retired_once,
                tokens_of_a_compromised_key_are_refused,
                private_halves_are_resealed_unless_wiped,
            }
            links::{
                a_further_identity_signs_the_same_person_in,
                the_same_link_again_changes_nothing,
                an_identity_of_somebody_else_is_not_linked,
                a_spent_ticket_links_nothing,
                only_a_live_session_of_an_active_person_links,
                a_recovery_links_without_a_session_and_opens_one,
                a_display_name_is_filled_only_where_there_is_none,
                a_link_that_fails_leaves_nothing,
                an_identity_is_unlinked_with_its_addresses,
                the_last_identity_stays,
                what_nobody_can_sign_in_with_does_not_count,
                of_two_who_link_one_identity_one_gets_it,
                of_two_who_unlink_the_last_two_one_does,
                a_sign_in_and_the_end_of_its_identity_do_not_miss_each_other,
                verified_holders_are_at_most_two,
            }
            odd_text::{
                odd_text_breaks_nothing,
                odd_questions_break_nothing,
            }
            people::{
                everybody_who_matches_is_found_once_and_in_order,
                however_many_are_passed_over_the_search_goes_on,
                a_tombstone_is_found_by_its_status_alone,
                people_who_come_and_go_between_pages_move_nobody_else,
                a_display_name_is_found_as_it_is_now,
            }
            races::{
                of_many_who_present_one_generation_one_moves_it,
                of_two_who_want_a_name_one_gets_it,
                of_two_who_bring_an_identity_one_gets_the_account,
                of_two_who_stage_a_key_one_does,
                of_two_who_spend_a_ticket_one_does,
                of_many_who_end_a_session_one_does,
            }
            revocation::{
                a_first_party_family_ends_with_its_session,
                a_client_family_ends_alone,
                a_session_ends_with_its_client_families_unless_offline,
                a_session_that_is_over_is_refused_all_the_same,
                everything_of_a_person_ends,
                nothing_ends_twice,
                reuse_is_judged_again,
                a_revocation_only_grows,
                revocations_are_found_by_time,
            }
            sign_in::{
                a_session_opens,
                a_ticket_is_spent_once,
                addresses_are_replaced,
                the_same_session_goes_on,
                another_persons_session_is_not_taken_over,
                an_ended_session_does_not_go_on,
                another_session_ends_in_the_same_browser,
                an_identity_of_somebody_else_is_not_allowed,
                only_an_active_person_is_allowed,
            }
            trail::{
                entries_follow_each_other_in_the_order_of_their_operations,
                each_process_writes_a_chain_of_its_own,
                what_is_refused_or_fails_leaves_no_entry_and_no_gap,
                entries_from_before_the_chains_are_given_places,
                where_there_are_chains_nobody_elses_entry_gets_into_one,
                a_checkpoint_of_a_number_is_written_once,
                an_old_chain_goes_from_its_end_on_and_others_stay_whole,
                a_page_of_the_trail_shows_what_it_was_asked_for,
            }
        }
        $crate::store_contract::store_contract! { @with_settings
            migrations::{
                a_fresh_database_is_migrated_once,
                migrations_run_once_for_all_who_start_at_once,
                an_outdated_schema_is_refused,
                a_newer_schema_that_works_with_this_binary_is_left_alone,
                a_newer_schema_that_needs_a_newer_binary_is_refused,
                a_newer_schema_that_does_not_say_is_refused,
                a_migration_that_was_altered_is_refused,
            }
        }
    };
    (@with_store $($module:ident::{$($case:ident,)*})*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let (store, database) = fresh_store().await;
                crate::store_contract::$module::$case(&store, &database).await;
            }
        )*)*
    };
    (@with_settings $($module:ident::{$($case:ident,)*})*) => {
        $($(
            #[tokio::test]
            async fn $case() {
                let (_settings, database) = fresh_settings();
                crate::store_contract::$module::$case(&database).await;
            }
        )*)*
    };
}

pub(crate) use store_contract;
