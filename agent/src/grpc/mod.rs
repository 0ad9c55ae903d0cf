//! gRPC: the guard, what peers ask, what operators ask. Thin: answers come from `ha-node` and `operate`.

pub mod control;
pub mod elsewhere;
pub mod guard;
mod leader;
pub mod peers;

use crate::error::{RequestError, Why};
use ha_proto::{AGAIN, CONFIRM, CUT_OFF, HINT};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Where two have the same code, the first is what the code means.
const CODES: [(Why, Code); 14] = [
    (Why::InvalidArgument, Code::InvalidArgument),
    (Why::NotFound, Code::NotFound),
    (Why::AlreadyExists, Code::AlreadyExists),
    (Why::FailedPrecondition, Code::FailedPrecondition),
    (Why::PermissionDenied, Code::PermissionDenied),
    (Why::Unauthenticated, Code::Unauthenticated),
    (Why::ResourceExhausted, Code::ResourceExhausted),
    (Why::Unavailable, Code::Unavailable),
    (Why::CutOff, Code::Unavailable),
    (Why::Confirm, Code::FailedPrecondition),
    (Why::Aborted, Code::Aborted),
    (Why::DeadlineExceeded, Code::DeadlineExceeded),
    (Why::Unimplemented, Code::Unimplemented),
    (Why::Internal, Code::Internal),
];

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        let code = CODES.iter().find(|(why, _)| *why == error.why);
        let mut status = Status::new(code.map_or(Code::Unknown, |(_, code)| *code), error.text);
        let hint = match error.why {
            Why::Unavailable => Some(AGAIN),
            Why::CutOff => Some(CUT_OFF),
            Why::Confirm => Some(CONFIRM),
            _ => None,
        };
        if let Some(hint) = hint {
            let hint = MetadataValue::from_static(hint);
            status.metadata_mut().insert(HINT, hint);
        }
        status
    }
}

/// What a refusal was, before gRPC said it.
fn why_of(status: &Status) -> Option<Why> {
    let why = CODES.iter().find(|(_, code)| *code == status.code());
    why.map(|(why, _)| *why)
}

#[cfg(test)]
mod tests {
    /// Texts are looked at by `checked_principal`, which finds them in any request; a method that forgets it would keep whatever
    /// it is given.
    #[test]
    fn every_method_looks_at_the_texts_of_its_request() {
        let source = include_str!("control.rs");
        let (_, methods) = source
            .split_once("impl Control for Api")
            .expect("it is here");
        let methods: Vec<&str> = methods.split("    async fn ").skip(1).collect();
        let asked = include_str!("../../../proto/control.proto");
        let rpcs = asked.lines().filter(|l| l.starts_with("  rpc ")).count();
        assert_eq!(methods.len(), rpcs, "a method for each question");
        for method in methods {
            let looks = ["checked_principal(&", "on_leader!(", ".signed(&mut"];
            assert!(
                looks.iter().any(|l| method.contains(l)),
                "begin with `checked_principal(&request)?`: {method}"
            );
        }
    }
}
