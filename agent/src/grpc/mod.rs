//! gRPC: the guard, what peers ask, what operators ask. Thin: answers come from `ha-node` and `operate`.

pub mod control;
pub mod guard;
mod leader;
pub mod peers;

use crate::operate::{RequestError, Why};
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
