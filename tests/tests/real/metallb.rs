//! The cases of MetalLB's L2 end-to-end tests, and where each is answered.
//!
//! | MetalLB's case | Here |
//! |---|---|
//! | traffic policy Cluster | `traffic::traffic_policy_cluster_...` |
//! | traffic policy Local: the MAC's owner is a pod's node | `traffic::traffic_policy_local_...`, `eligibility::with_a_local_traffic_policy_the_vip_follows_the_endpoints` |
//! | the policy flips | `traffic::a_traffic_policy_that_flips_while_requests_run_moves_nothing`, `churn::a_traffic_policy_that_flips_moves_the_vip_without_a_gap` |
//! | a Service of TCP and UDP ports | `traffic::a_service_of_tcp_and_udp_ports_...` |
//! | NetworkUnavailable moves and returns | `nodes::network_unavailable_...`; without a gap: `eligibility::a_node_that_becomes_ineligible_hands_over_without_a_gap` |
//! | exclude label moves and returns | `nodes::the_exclude_label_...`; `eligibility`, the same |
//! | two Services share an address | `policies::services_that_share_an_address_have_one_holder_and_one_announcement` |
//! | interface selector: MAC, change, absent interface | `links::a_vip_is_answered_on_the_interfaces_that_its_policy_names` |
//! | interface selector: two policies, with node selector | `selectors::two_policies_for_two_interfaces_...` |
//! | node selector: one, several | `policies::the_wire_follows_a_policy` |
//! | node selector: nodes added | `nodes::nodes_that_are_labelled_or_join_later_...` |
//! | preferred node | `placement::a_preferred_node_has_the_vip_while_it_is_there` |
//! | service selector: any of several, one node with two policies, none | `selectors::a_service_is_answered_where_any_...` |
//! | the speaker stops | in order: `handover::an_orderly_end_hands_over_without_a_gap`; killed: `nodes::a_speaker_that_was_killed_for_good_has_one_successor`; hung: `hang`; its node is gone: `crash` |
//! | status follows the announcer | `nodes::the_lease_names_the_node_whose_mac_answers` |
//! | pools as range and CIDR | `pools::each_address_of_a_range_and_of_a_cidr_is_answered_by_one_node` |
//! | another loadBalancerClass | `policies::classes_say_whose_a_service_is`, `services::services_of_others_are_left_alone` |
//! | metrics | not yet: the announcer has none before issue 7 |

mod nodes;
mod pools;
mod selectors;
mod traffic;
