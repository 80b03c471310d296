//! The scaler's faults, row by row, and the tests that inject each: the rows of the design's table of invariants and faults
//! that are the scaler's (5 to 15, 20, 21, 23). INV-04 to INV-07 and INV-14 are judged by each of them: the domain's tests
//! by `Lab::write` after every event, those over a real log by `invariant::broken`, those over EC2 by moto's own listing
//! too. The table is checked: a test that is renamed or goes leaves a row red.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

/// Row, the fault, and its tests: file (from the project's folder) and function.
type Row = (u8, &'static str, &'static [(&'static str, &'static str)]);

const FAULTS: &str = "services/scaler/tests/ec2_faults.rs";
const KILLS: &str = "services/scaler/tests/ec2_kills.rs";
const MOTO: &str = "services/scaler/tests/ec2_moto.rs";
const TELEMETRY: &str = "services/scaler/tests/telemetry.rs";
const SCALER: &str = "services/scaler/tests/scaler.rs";
const LOST: &str = "services/scaler/tests/lost_nodes.rs";
const LIMIT: &str = "services/scaler/src/cloud/ec2/limit.rs";
const PLACES: &str = "services/scaler/src/places.rs";
const D_LOST: &str = "services/core/domain/tests/lost_nodes.rs";
const D_PLAN: &str = "services/core/domain/tests/plan.rs";
const D_CUT: &str = "services/core/domain/tests/cut_off.rs";
const CONFIG: &str = "services/core/runtime/src/config/tests.rs";

const ROWS: &[Row] = &[
    (
        5,
        "a lost RunInstances reply, the scaler killed before, in and behind the call",
        &[
            (KILLS, "killed_after_its_commit_and_before_its_request"),
            (KILLS, "killed_while_its_request_is_under_way"),
            (KILLS, "killed_after_the_launch_and_before_its_answer"),
            (KILLS, "killed_after_its_answer_was_lost"),
            (FAULTS, "a_lost_answer_in_a_cloud_that_shows_everything_late"),
            (SCALER, "a_scaler_killed_before_the_answer_starts_no_second_instance"),
        ],
    ),
    (
        6,
        "an instance without an owner",
        &[(FAULTS, "an_orphan_is_ended_when_it_is_old_enough_and_others_are_not")],
    ),
    (
        7,
        "a listing older than the state, clocks five minutes and an hour off, for the cloud, the services and the nodes",
        &[
            (TELEMETRY, "an_orphan_is_as_old_as_it_was_seen_whatever_the_clouds_clock_says"),
            (SCALER, "instances_nobody_explains_are_ended_and_no_others"),
            (
                "tests/tests/clock_steps.rs",
                "a_wall_clock_that_jumps_by_hours_moves_no_window_no_lease_and_no_record_time",
            ),
        ],
    ),
    (
        8,
        "scale-in against calls, claims and orders on their way",
        &[
            (D_PLAN, "a_node_nobody_heard_of_is_no_victim_and_a_call_is_never_cut"),
            (
                "services/core/domain/tests/campaign.rs",
                "an_intent_that_lands_after_a_drain_is_void_and_its_contact_still_waits",
            ),
            (FAULTS, "with_ec2_away_calls_go_on_and_what_was_to_end_ends_later"),
        ],
    ),
    (
        9,
        "launches in part, and no room for the rest",
        &[
            (FAULTS, "a_launch_that_finds_few_machines_goes_on_elsewhere_at_once"),
            (
                "services/core/domain/tests/placed.rs",
                "what_a_request_did_not_get_is_asked_for_elsewhere_by_another_token",
            ),
        ],
    ),
    (
        10,
        "heartbeats muted, half of them muted, absurd numbers, a trunk that is down",
        &[
            (TELEMETRY, "with_every_heartbeat_muted_no_node_goes_though_nobody_wants_one"),
            (TELEMETRY, "with_half_of_the_heartbeats_muted_the_other_half_stays_too"),
            (TELEMETRY, "absurd_reports_of_idle_nodes_with_calls_close_nobody"),
            (SCALER, "a_node_nobody_hears_is_not_drained_and_one_that_breaks_is_replaced"),
            (D_LOST, "the_fleets_invariants_hold_whatever_gets_lost"),
            (
                "services/core/domain/tests/staffed.rs",
                "a_fleet_whose_calls_all_fail_is_not_drained_for_want_of_work",
            ),
        ],
    ),
    (
        11,
        "pages that are missing, fail, or are throttled",
        &[
            (FAULTS, "listings_in_part_and_failed_ones_end_nobody"),
            (MOTO, "a_listing_is_complete_or_an_error"),
        ],
    ),
    (
        12,
        "ten minutes of throttling; the published buckets",
        &[
            (LIMIT, "what_was_refused_is_followed_by_a_silence_that_grows"),
            (LIMIT, "no_window_sees_more_than_the_published_buckets"),
            (FAULTS, "throttled_it_is_silent_for_longer_each_time"),
        ],
    ),
    (
        13,
        "an hour of capacity errors, in one place and everywhere, and quotas",
        &[
            (PLACES, "an_hour_without_room_costs_twenty_questions_a_place"),
            (FAULTS, "without_room_anywhere_each_place_is_asked_once_in_its_while"),
            (FAULTS, "a_quota_closes_its_market_and_a_launch_that_waited_too_long_fails"),
        ],
    ),
    (
        14,
        "policies with negative, absurd and huge numbers",
        &[
            (D_PLAN, "limits_hold_whatever_the_policy_says"),
            (D_PLAN, "a_launch_beyond_the_limits_in_the_log_is_void"),
            ("services/core/domain/tests/prices.rs", "everything_wrong_with_a_price_book_is_said_at_once"),
            (CONFIG, "absurd_limits_of_the_fleet_are_refused_with_their_place"),
        ],
    ),
    (
        15,
        "two scalers, one stopped and woken",
        &[
            (KILLS, "stopped_in_the_middle_of_a_launch_and_woken_under_another_leader"),
            (
                "tests/tests/stopped_leaders.rs",
                "a_scaler_stopped_and_woken_behind_its_rival_orders_and_commits_nothing",
            ),
        ],
    ),
    (
        20,
        "a node that never registers, never drains, dies while it drains, refuses the log; demand that comes back",
        &[
            (FAULTS, "a_node_that_never_registers_is_replaced_and_one_that_dies_draining_is_written_off"),
            (SCALER, "a_drained_node_is_told_to_take_calls_again"),
            (LOST, "a_node_nobody_hears_is_replaced_and_one_day_ended_with_its_calls_named"),
            (
                "services/core/domain/tests/refusing_nodes.rs",
                "it_is_ended_once_this_log_covers_its_word_and_people_had_time_to_look",
            ),
        ],
    ),
    (
        21,
        "a spot notice, a rebalance recommendation, an end without notice",
        &[
            ("asterisk-agent/tests/spot.rs", "a_spot_notice_closes_the_node_and_its_calls_go_on"),
            ("tests/tests/spot.rs", "a_node_with_a_spot_notice_is_replaced_before_it_goes"),
            (D_CUT, "a_node_its_cloud_takes_away_is_drained_and_replaced_at_once"),
            ("tests/tests/kills.rs", "a_node_is_killed_for_good_and_replaced"),
        ],
    ),
    (
        23,
        "EC2 and the bus away for two hours",
        &[
            (D_CUT, "two_hours_without_the_cloud_and_the_bus_end_nobody_and_start_nobody"),
            (FAULTS, "with_ec2_away_calls_go_on_and_what_was_to_end_ends_later"),
            (
                "tests/tests/outage.rs",
                "an_outage_of_nats_under_34_nodes_loses_nothing_and_rings_nobody_twice",
            ),
        ],
    ),
];

#[test]
fn every_row_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rows: Vec<u8> = ROWS.iter().map(|(row, ..)| *row).collect();
    assert_eq!(rows, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 20, 21, 23]);
    for (row, fault, tests) in ROWS {
        assert!(!tests.is_empty(), "row {row} ({fault}) has no test");
        for (file, test) in *tests {
            let text =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("row {row}: {file}: {e}"));
            assert!(text.contains(&format!("fn {test}(")), "row {row} ({fault}): {file} has no {test}");
        }
    }
}
