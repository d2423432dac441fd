//! Why ECS does not do it: what the operator must change, and what may work the next time.

use std::error::Error;

use app::ports::ComputeError;
use aws_sdk_ecs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecs::operation::list_tasks::ListTasksError;
use aws_sdk_ecs::operation::run_task::RunTaskError;
use aws_sdk_ecs::operation::stop_task::StopTaskError;
use aws_sdk_ecs::types::Failure;

use crate::fault::Fault;

pub(super) fn refused(why: impl Into<String>) -> ComputeError {
    ComputeError::Refused(why.into())
}

pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> ComputeError {
    ComputeError::Unavailable(Box::new(error))
}

/// Why no task was placed.
pub(super) fn of_failures(failures: &[Failure]) -> ComputeError {
    let Some(failure) = failures.first() else {
        return unavailable(Fault::new("RunTask", "neither a task nor a reason was answered"));
    };
    let reason = failure.reason().unwrap_or("no reason");
    let what = failure.arn().or_else(|| failure.detail()).unwrap_or("the task");
    let advice = match reason.to_ascii_uppercase().as_str() {
        // What is missing or switched off stays so until somebody changes it.
        "MISSING" | "INACTIVE" => "the platform does not have it: deploy the installation again",
        "ATTRIBUTE" => "no machine of the cluster offers what the task definition asks for",
        "EMPTY CAPACITY PROVIDER" => "the cluster's capacity provider has no machines to grow by",
        "NO ACTIVE INSTANCES" | "NO CONTAINER INSTANCES" => {
            "the cluster has no machine to run it on"
        }
        "LOCATION" => "its subnets lie in other zones than the machines",
        _ => {
            let why = format!("{reason} at {what}");
            return unavailable(Fault::new("RunTask", why));
        }
    };
    refused(format!("ECS refuses the container ({reason}, {what}): {advice}"))
}

/// Why the call itself was turned down.
pub(super) fn of_error(error: &RunTaskError) -> ComputeError {
    let message = error.message().unwrap_or("no message");
    let code = error.code().unwrap_or("an error without a code");
    let advice = if error.is_cluster_not_found_exception() {
        "REEVE_CLUSTER names no cluster"
    } else if error.is_access_denied_exception() {
        "its role needs ecs:RunTask and ecs:TagResource, and iam:PassRole for the task's roles"
    } else if error.is_platform_unknown_exception()
        || error.is_platform_task_definition_incompatibility_exception()
        || error.is_unsupported_feature_exception()
    {
        "the task definition asks for what this capacity does not offer"
    } else if error.is_invalid_parameter_exception() {
        "check REEVE_TASK_FAMILY, REEVE_SUBNETS, REEVE_SECURITY_GROUPS and REEVE_CAPACITY"
    } else if error.is_client_exception() && !is_about_a_limit(message) {
        "check that REEVE_TASK_FAMILY names active task definitions"
    } else {
        // Among it the account's limit on what runs at once: it has the code of a wrong request.
        return unavailable(Fault::new("RunTask", format!("{code} ({message})")));
    };
    refused(format!("ECS refuses the container ({code}: {message}): {advice}"))
}

fn is_about_a_limit(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["limit", "capacity", "concurrent"].iter().any(|word| message.contains(word))
}

/// Whether the cluster is not there.
pub(super) fn is_unknown_cluster<R>(error: &SdkError<ListTasksError, R>) -> bool {
    error.as_service_error().is_some_and(ListTasksError::is_cluster_not_found_exception)
}

/// Whether a task that was to be stopped is not known any more.
pub(super) fn is_unknown_task<R>(error: &SdkError<StopTaskError, R>) -> bool {
    error.as_service_error().is_some_and(|error| {
        error.is_invalid_parameter_exception()
            && error.message().is_some_and(|said| said.contains("not found"))
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ecs::types::error::{ClientException, InvalidParameterException};
    use aws_smithy_types::error::ErrorMetadata;

    use super::*;

    fn failure(reason: &str) -> ComputeError {
        of_failures(&[Failure::builder().reason(reason).arn("arn:aws:ecs:…").build()])
    }

    fn text(error: &ComputeError) -> String {
        match error {
            ComputeError::Refused(why) => why.clone(),
            ComputeError::Unavailable(source) => source.to_string(),
            ComputeError::Leaving => error.to_string(),
        }
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let passing = [
            "RESOURCE:MEMORY",
            "RESOURCE:CPU",
            "RESOURCE:ENI",
            "AGENT",
            "CAPACITY",
            "Capacity is unavailable at this time",
        ];
        for reason in passing {
            let error = failure(reason);
            assert!(matches!(error, ComputeError::Unavailable(_)), "{reason}: {error:?}");
            assert!(text(&error).contains(reason), "{error:?}");
        }
        assert!(matches!(of_failures(&[]), ComputeError::Unavailable(_)));
    }

    #[test]
    fn what_stays_is_refused_with_what_to_change() {
        for reason in ["MISSING", "INACTIVE", "ATTRIBUTE", "LOCATION"] {
            let error = failure(reason);
            assert!(matches!(error, ComputeError::Refused(_)), "{reason}: {error:?}");
            assert!(text(&error).contains(reason), "{error:?}");
        }
    }

    #[test]
    fn a_wrong_request_is_told_from_a_full_account() {
        let meta = |message: &str| ErrorMetadata::builder().message(message).build();
        let client = |message: &str| {
            of_error(&RunTaskError::ClientException(
                ClientException::builder().meta(meta(message)).build(),
            ))
        };
        let wrong = client("TaskDefinition is inactive");
        assert!(matches!(&wrong, ComputeError::Refused(why) if why.contains("REEVE_TASK_FAMILY")));
        let full =
            client("You've reached the limit on the number of vCPUs you can run concurrently");
        assert!(matches!(full, ComputeError::Unavailable(_)), "{full:?}");
        let invalid = InvalidParameterException::builder().meta(meta("No subnets")).build();
        let invalid = of_error(&RunTaskError::InvalidParameterException(invalid));
        assert!(matches!(&invalid, ComputeError::Refused(why) if why.contains("REEVE_SUBNETS")));
    }
}
