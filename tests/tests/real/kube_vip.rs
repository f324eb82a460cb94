//! The faults of kube-vip's end-to-end tests, and where each is answered.
//!
//! | kube-vip's fault | Here |
//! |---|---|
//! | endpoint flapping | `endpoints::an_endpoint_that_flaps_...`, `..::the_only_endpoint_may_flap_...`, `..::a_second_endpoint_that_flaps_...` |
//! | EndpointSlice deleted | `endpoints::an_endpoint_slice_that_is_deleted_...` |
//! | lease deleted | `by_hand::a_vip_lease_deleted_or_spoiled_by_hand_is_written_anew` |
//! | holder cleared | the same, and `by_hand::a_vip_lease_emptied_by_hand_is_a_release` |
//! | leader cut off from the API for 20 s | `partitions::a_leader_cut_off_...`; its answers only: `partitions::a_leader_that_hears_no_answers_...` |
//! | traffic policy flips | `churn::a_traffic_policy_that_flips_moves_the_vip_without_a_gap` |
//! | event storm | `storms::a_storm_of_service_updates_...`, `churn` |
//! | sibling lease deleted | `storms::the_lease_of_a_sibling_may_be_deleted` |
//! | follower cut off | `partitions::a_follower_...` |

mod endpoints;
mod partitions;
mod storms;
