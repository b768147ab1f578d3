//! `--watch`: what only looks is shown again and again.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use super::{
    AssignmentVerb, ClusterVerb, ComponentVerb, Exit, Failure, InstanceVerb, KeyVerb, NodeVerb, OutputFormat, RunnerVerb, SettingVerb, SourceVerb,
    TagVerb, Verb, operations::OperationVerb, output, remote::Remote,
};

/// To the upper left corner, and all below it cleared.
const CLEARED: &str = "\x1b[H\x1b[2J";

/// Whether a verb changes nothing and ends by itself.
fn only_looks(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::Node(NodeVerb::List(_) | NodeVerb::Show { .. })
            | Verb::Tag(TagVerb::List(_))
            | Verb::Runner(RunnerVerb::List(_) | RunnerVerb::Show { .. } | RunnerVerb::Revisions { .. })
            | Verb::Source(SourceVerb::List { .. } | SourceVerb::Show { .. })
            | Verb::Operation(OperationVerb::List { .. } | OperationVerb::Show { .. })
            | Verb::Instance(InstanceVerb::List { .. } | InstanceVerb::Show { .. })
            | Verb::Component(ComponentVerb::List(_))
            | Verb::Assignment(AssignmentVerb::Check)
            | Verb::Key(KeyVerb::List(_))
            | Verb::Setting(SettingVerb::List(_))
            | Verb::Cluster(ClusterVerb::Status)
            | Verb::Plan(_)
            | Verb::Series(_)
            | Verb::This
    )
}

/// Shows it until it is interrupted. A node that does not answer is asked again: it may come back, and that is what one watches for.
pub(super) async fn run(remote: &Remote, verb: Verb, every: Duration) -> Result<Exit, Failure> {
    if !only_looks(&verb) {
        return Err(Failure::usage("--watch: this does more than look, or does not end; what happens is told by `logvine events --follow`"));
    }
    let clears = remote.output == OutputFormat::Table && io::stdout().is_terminal();
    loop {
        // All at once: a screen that is cleared before the answer is there would flicker.
        output::hold();
        let result = remote.once(verb.clone()).await;
        let text = output::release();
        output::print(&if clears { format!("{CLEARED}{text}") } else { text })?;
        match result {
            Err(failure) if failure.exit != Exit::Error => return Err(failure),
            Err(failure) => output::warn(&format!("error: {failure}")),
            Ok(_) => {}
        }
        tokio::time::sleep(every).await;
    }
}
