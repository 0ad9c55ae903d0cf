//! Configurations, their history, the numbers of servers.
use super::*;

#[test]
fn servers_keep_their_numbers_through_changes_and_rollback() {
    let mut log = Log::new();
    let (one, three) = (log.server("s1"), log.server("s3"));
    log.ok(Command::Health(vec![HealthChange {
        server: three,
        up: false,
        why: String::new(),
    }]));
    assert_eq!(log.ok(configure(config(2))), Outcome::Configured(2));
    assert!(log.state.facts.health.is_empty());
    assert_eq!(
        log.ok(Command::Rollback {
            version: None,
            expect: None
        }),
        Outcome::Configured(3)
    );
    assert_eq!(log.server("s1"), one);
    assert_ne!(log.server("s3"), three, "a number is never used again");
}

#[test]
fn the_same_configuration_again_is_no_new_version() {
    let mut log = Log::new();
    assert_eq!(log.ok(configure(config(3))), Outcome::Configured(1));
    let mut heavier = config(3);
    heavier.backends[0].servers[1].weight = 5;
    assert_eq!(log.ok(configure(heavier)), Outcome::Configured(2));
}

#[test]
fn history_is_bounded_and_any_kept_version_can_return() {
    let mut log = Log::new();
    for w in 2..30 {
        let mut c = config(3);
        c.backends[0].servers[0].weight = w;
        log.ok(configure(c));
    }
    assert_eq!(log.state.facts.history.len(), HISTORY_MAX);
    let oldest = log.state.facts.history[0].version;
    assert!(
        log.apply(Command::Rollback {
            version: Some(oldest - 1),
            expect: None
        })
        .is_err()
    );
    log.ok(Command::Rollback {
        version: Some(oldest),
        expect: None,
    });
    assert_eq!(
        u64::from(log.state.facts.config.backends[0].servers[0].weight),
        oldest
    );
}

/// Agents of two versions may say otherwise what changed; what they keep must be the same.
#[test]
fn what_changed_is_said_by_who_shows_it_and_kept_nowhere() {
    let mut log = Log::new();
    let mut heavier = config(3);
    heavier.backends[0].servers[1].weight = 5;
    let answer = log.ok(configure(heavier));
    let line = "~ server b/s2: weight: 1 -> 5";
    let history = &log.state.facts.history;
    assert_eq!(
        crate::changes::changes(&history[0].config, &history[1].config),
        [line]
    );
    let kept = format!("{:?} {answer:?}", log.state);
    assert!(!kept.contains("weight: 1 -> 5"), "{kept}");
}
