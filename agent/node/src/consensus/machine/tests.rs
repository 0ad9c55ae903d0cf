//! Snapshots that are overtaken, and versions that are not spoken.

use super::*;
use crate::consensus::types::Entry;
use crate::log_store::memory::MemoryStore;
use ha_core::version::{CURRENT, Speaks};
use openraft::vote::leader_id_std::CommittedLeaderId;
use openraft_rt_tokio::TokioRuntime;

#[tokio::test]
async fn a_snapshot_that_was_overtaken_is_not_saved_over_the_newer_one() {
    let store = Arc::new(MemoryStore::default());
    let machine =
        Machine::<TokioRuntime>::open(store.clone(), Versions::of(CURRENT), Arc::new(|| {}))
            .unwrap();
    let at = |index| {
        let id = LogId::<TokioRuntime>::new(CommittedLeaderId { term: 1 }, index);
        SnapshotMeta::<TokioRuntime> {
            last_log_id: Some(id),
            ..Default::default()
        }
    };
    let saved = || store.load_snapshot().unwrap().map(|s| s.data);
    machine.save(&at(9), b"newer".to_vec()).await.unwrap();
    machine.save(&at(5), b"overtaken".to_vec()).await.unwrap();
    assert_eq!(saved(), Some(b"newer".to_vec()));
    machine.save(&at(12), b"newest".to_vec()).await.unwrap();
    assert_eq!(saved(), Some(b"newest".to_vec()));
}

fn speaks(max: u32) -> Speaks {
    Speaks {
        min: RecordVersion(1),
        max: RecordVersion(max),
    }
}

async fn apply(
    machine: &mut Machine<TokioRuntime>,
    index: u64,
    command: Command,
) -> io::Result<()> {
    let stamped = Arc::new(Stamped {
        at: Timestamp(1),
        by: String::new(),
        command,
        request: None,
    });
    let entry = Entry::<TokioRuntime> {
        log_id: LogId::<TokioRuntime>::new(CommittedLeaderId { term: 1 }, index),
        payload: EntryPayload::Normal(Proposal {
            version: RecordVersion(1),
            stamped,
        }),
    };
    machine
        .apply(futures_util::stream::iter([Ok((entry, None))]))
        .await
}

#[tokio::test]
async fn a_version_is_noted_before_it_is_applied_and_not_applied_where_it_is_not_spoken() {
    for (max, is_spoken) in [(2, true), (1, false)] {
        let (store, versions) = (Arc::new(MemoryStore::default()), Versions::of(speaks(max)));
        let mut machine = Machine::open(store.clone(), versions.clone(), Arc::new(|| {})).unwrap();
        let found = Command::Found {
            cluster_id: ha_core::id::NodeId::from_random(9),
            timing: Default::default(),
            version: RecordVersion(1),
        };
        apply(&mut machine, 1, found).await.unwrap();
        assert_eq!(store.active().unwrap(), Some(RecordVersion(1)));
        // What is refused changes nothing.
        let lower = Command::Activate(RecordVersion(1));
        apply(&mut machine, 2, lower).await.unwrap();
        let applied = apply(&mut machine, 3, Command::Activate(RecordVersion(2))).await;
        assert_eq!(applied.is_ok(), is_spoken);
        assert_eq!(
            store.active().unwrap(),
            Some(RecordVersion(2)),
            "the next start refuses"
        );
        let (active, index) = if is_spoken { (2, 3) } else { (1, 2) };
        let state = machine.read();
        assert_eq!(state.facts.active_version, RecordVersion(active));
        assert_eq!(
            (versions.writes(), state.applied_index),
            (RecordVersion(active), index)
        );
        assert_eq!(versions.halted().is_none(), is_spoken);
        assert_eq!(versions.check(&*store).is_ok(), is_spoken);
    }
}

#[tokio::test]
async fn a_snapshot_of_a_newer_version_is_not_installed() {
    let mut state = ClusterState::default();
    Arc::make_mut(&mut state.facts).active_version = RecordVersion(2);
    let data = ha_record::encode(RecordVersion(2), &state).unwrap();
    let (store, versions) = (Arc::new(MemoryStore::default()), Versions::of(speaks(1)));
    let mut machine =
        Machine::<TokioRuntime>::open(store.clone(), versions.clone(), Arc::new(|| {})).unwrap();
    let meta = SnapshotMeta::<TokioRuntime>::default();
    machine.install_snapshot(&meta, data).await.unwrap_err();
    assert_eq!(store.load_snapshot().unwrap(), None);
    assert!(versions.halted().is_some());
}
