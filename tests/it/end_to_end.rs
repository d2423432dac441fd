//! What a user does, from the key to the end of the agent: one suite, two platforms. A scenario
//! that is added here is run on both.

mod large;
mod scenarios;

tests::on_each_platform! {
    scenarios::a_key_opens_what_it_may_until_it_is_revoked,
    scenarios::an_agent_answers_and_what_it_did_reads_back,
    scenarios::events_arrive_while_they_happen_and_again_behind_any_of_them,
    scenarios::prompts_wait_for_each_other,
    scenarios::a_run_is_cancelled_in_the_middle,
    scenarios::a_run_waits_for_permission,
    scenarios::a_paused_agent_has_no_container_until_it_is_needed,
    scenarios::what_an_agent_leaves_is_there_in_its_next_container,
    scenarios::an_archived_agent_is_out_of_the_way_until_it_is_needed,
    scenarios::an_idle_container_goes_by_itself,
    scenarios::a_lost_container_fails_its_run_and_the_next_one_works,
    scenarios::a_deleted_agent_is_gone_with_all_it_had,
    scenarios::the_same_request_has_one_answer,
    scenarios::a_long_prompt_arrives_whole,
    large::what_no_request_brings_goes_in_and_comes_out_byte_for_byte,
}

/// What only an image holds: agents of other makers.
mod real_agents {
    mod deployed {
        #[tokio::test]
        async fn opencode_works_with_its_tools() {
            let platform = tests::platform::Platform::deployed().await;
            super::super::scenarios::opencode_works_with_its_tools(&platform).await;
        }
    }
}
