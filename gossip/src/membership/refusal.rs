//! Refusal is evidence (DESIGN §3.1): a silent process may be slow or cut off; one whose host says "nobody listens there" is gone.
//!
//! ```text
//! question ─2/5 rtt─► overdue ─knock─► refused ─100 ms─► refused ─► three others knock ─┬─ refused by one, an answer to none: again ─► proved gone
//!     └─ heard: clear    └─ silence: the suspicion runs its time (SWIM)               └─ an answer, or no word: the same
//! ```
//! The others are asked at least twice, the last time 400 ms after the first refusal: all knocks of one round fit into the moment in which a
//! firewall reloads its rules. Each round asks the next ones. One in which somebody was silent is weak, as a lost packet is enough for it: then a third follows.
//!
//! A knock is an empty datagram from a connected socket of its own, which a live node drops without a word; beside it goes a sealed question from the
//! gossip socket. So a stranger learns nothing, nothing is amplified, and only the host's ICMP or the member itself can answer.
//! Invariants: one path's refusals prove nothing while there are others to ask; whoever was heard since is not gone; all tables are bounded.
//! Not here: sockets, who is a member, whom to ask (`Membership`).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{Instant, NodeId, canary, swim::Identity};

/// How many refusals make a node's word, and the time between them: a firewall that reloads its rules refuses for a moment.
const REFUSALS: u8 = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// How long a firewall may take for its rules: refusals that lie closer together than this prove nothing.
const RELOAD: Duration = Duration::from_millis(400);
/// How many others are asked at once: SWIM's k.
const HELPERS: usize = 3;
/// Most times that others are asked.
const ROUNDS: usize = 3;
/// How many others an inquiry may want.
pub(crate) const CANDIDATES: usize = HELPERS * ROUNDS;
/// Most knocks under way, own and for others. A node probes two members a second, and a knock is over in half of one.
const KNOCKS_MAX: usize = 64;
/// Most nodes that wait for one knock's outcome: of those that probe a member within one knock's time.
const REQUESTERS_MAX: usize = 16;
/// Most questions whose answer is waited for.
const QUESTIONS_MAX: usize = 256;

/// What a helper found at a member's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    /// The member spoke.
    Answer,
    /// Its host said, twice, that nobody listens there.
    Refusal,
    Silence,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Knock at this member's address, and ask it whether it is there.
    Knock(Identity),
    /// Ask this helper to knock at that member.
    Ask {
        helper: Identity,
        member: Identity,
    },
    Report {
        to: Identity,
        member: Identity,
        found: Found,
    },
    /// No process is there.
    Gone(Identity),
}

/// Knocking at one member.
#[derive(Debug)]
struct Knock {
    member: Identity,
    own: bool,
    requesters: Vec<Identity>,
    refusals: u8,
    /// When the host refused first.
    since: Option<Instant>,
    /// When to knock again, if that is what comes next.
    again: Option<Instant>,
    /// A host that has not said by then what came of it has lost it.
    due: Instant,
}

/// Refused here; others are asked.
#[derive(Debug)]
struct Inquiry {
    member: Identity,
    /// When the host refused this node first.
    since: Instant,
    /// Whom to ask, in turn.
    helpers: Vec<Identity>,
    rounds: usize,
    asked: Instant,
    waiting: BTreeSet<NodeId>,
    refused: bool,
    /// A helper of this round reported that it heard nothing.
    silent: bool,
    due: Instant,
    /// When to ask again, if that is what comes next.
    again: Option<Instant>,
}

impl Inquiry {
    /// Asks the next helpers.
    fn ask(&mut self, now: Instant, rtt: Duration, steps: &mut VecDeque<Step>) {
        let first = self.rounds * HELPERS;
        let turn = self.helpers.iter().cycle().skip(first % self.helpers.len().max(1)).take(HELPERS.min(self.helpers.len()));
        self.waiting = turn.clone().map(|helper| helper.id).collect();
        steps.extend(turn.map(|helper| Step::Ask { helper: *helper, member: self.member }));
        (self.refused, self.silent, self.again) = (false, false, None);
        self.rounds += 1;
        self.asked = now;
        // Two knocks, and the way there and back.
        self.due = now + PAUSE + rtt * 2;
    }

    /// Whether this round's refusals are no firewall's moment, and not the rest of what a lost packet left.
    fn proves(&self) -> bool {
        let lasted = self.asked >= self.since + RELOAD;
        let whole = self.waiting.is_empty() && !self.silent;
        canary::planted("knock-once") || (lasted && (whole || self.rounds >= ROUNDS))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// How long an answer, or a refusal, may take.
    rtt: Duration,
    questions: BTreeMap<NodeId, (Identity, Instant)>,
    knocks: BTreeMap<NodeId, Knock>,
    inquiries: BTreeMap<NodeId, Inquiry>,
    steps: VecDeque<Step>,
}

impl Refusals {
    pub(crate) fn new(rtt: Duration) -> Self {
        Self { rtt, questions: BTreeMap::new(), knocks: BTreeMap::new(), inquiries: BTreeMap::new(), steps: VecDeque::new() }
    }

    pub(crate) fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        let questions = self.questions.values().map(|(_, due)| *due);
        let knocks = self.knocks.values().map(|knock| knock.again.unwrap_or(knock.due));
        let inquiries = self.inquiries.values().map(|inquiry| inquiry.again.unwrap_or(inquiry.due));
        questions.chain(knocks).chain(inquiries).min()
    }

    /// A member was asked something that a live process answers at once.
    ///
    /// It is knocked at before its time is over: a live one that is late drops the knock, and what proves a death takes so much time that none is to be
    /// lost before it begins.
    pub(crate) fn question(&mut self, now: Instant, member: Identity) {
        if self.questions.len() < QUESTIONS_MAX {
            self.questions.entry(member.id).or_insert((member, now + self.rtt * 2 / 5));
        }
    }

    /// A datagram came from this member, or one that says that another heard it.
    pub(crate) fn heard(&mut self, id: &NodeId) {
        self.questions.remove(id);
        self.inquiries.remove(id);
        if let Some(knock) = self.knocks.remove(id) {
            self.report(knock, Found::Answer);
        }
    }

    /// Another node asks this one to knock too. The caller has made sure that `member` is a live one of the view.
    pub(crate) fn handle_request(&mut self, now: Instant, from: Identity, member: Identity) {
        // What this node found for itself is older than the question.
        if let Some(knock) = self.knock(now, member)
            && knock.requesters.len() < REQUESTERS_MAX
            && !knock.requesters.iter().any(|known| known.id == from.id)
        {
            knock.requesters.push(from);
        }
    }

    /// What came of a [`Step::Knock`]. `helpers`: whom to ask, in turn, at most [`CANDIDATES`];
    /// `alone`: there is nobody else that could be asked, now or later.
    pub(crate) fn handle_knock(&mut self, now: Instant, id: &NodeId, refused: bool, helpers: &[Identity], alone: bool) {
        if self.knocks.get(id).is_none_or(|knock| knock.again.is_some()) {
            return;
        }
        let Some(mut knock) = self.knocks.remove(id) else { return };
        if !refused {
            return self.report(knock, Found::Silence);
        }
        knock.refusals += 1;
        let since = *knock.since.get_or_insert(now);
        if knock.refusals < REFUSALS && !canary::planted("knock-once") {
            knock.again = Some(now + PAUSE);
            self.knocks.insert(*id, knock);
            return;
        }
        let (member, own) = (knock.member, knock.own);
        self.report(knock, Found::Refusal);
        if !own {
            return;
        }
        if (helpers.is_empty() && alone) || canary::planted("trust-one-refusal") {
            self.steps.push_back(Step::Gone(member));
        } else if !helpers.is_empty() {
            let (helpers, waiting) = (helpers.to_vec(), BTreeSet::new());
            let mut inquiry =
                Inquiry { member, since, helpers, rounds: 0, asked: now, waiting, refused: false, silent: false, due: now, again: None };
            inquiry.ask(now, self.rtt, &mut self.steps);
            self.inquiries.insert(*id, inquiry);
        }
    }

    /// What a helper found.
    pub(crate) fn handle_report(&mut self, now: Instant, helper: &NodeId, member: &Identity, found: Found) {
        let Some(inquiry) = self.inquiries.get_mut(&member.id).filter(|inquiry| inquiry.member == *member) else { return };
        if !inquiry.waiting.remove(helper) {
            return;
        }
        match found {
            Found::Answer if !canary::planted("deny-answers") => self.heard(&member.id),
            Found::Refusal | Found::Answer => {
                inquiry.refused = true;
                self.conclude_if_complete(now, &member.id);
            }
            Found::Silence => {
                inquiry.silent = true;
                self.conclude_if_complete(now, &member.id);
            }
        }
    }

    /// Goes on with what is due.
    pub(crate) fn fire(&mut self, now: Instant) {
        let overdue: Vec<_> = self.questions.values().filter(|(_, due)| *due <= now).map(|(member, _)| *member).collect();
        for member in overdue {
            self.questions.remove(&member.id);
            if !self.inquiries.contains_key(&member.id)
                && let Some(knock) = self.knock(now, member)
            {
                knock.own = true;
            }
        }
        let due = |knock: &Knock| knock.again.unwrap_or(knock.due) <= now;
        let ids: Vec<_> = self.knocks.iter().filter(|(_, knock)| due(knock)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut knock) = self.knocks.remove(&id) else { continue };
            if knock.again.take().is_some() {
                knock.due = now + self.rtt * 2;
                self.steps.push_back(Step::Knock(knock.member));
                self.knocks.insert(id, knock);
            } else {
                self.report(knock, Found::Silence);
            }
        }
        let due = |inquiry: &Inquiry| inquiry.again.unwrap_or(inquiry.due) <= now;
        let ids: Vec<_> = self.inquiries.iter().filter(|(_, inquiry)| due(inquiry)).map(|(id, _)| *id).collect();
        for id in ids {
            match self.inquiries.get_mut(&id) {
                Some(inquiry) if inquiry.again.is_some() => inquiry.ask(now, self.rtt, &mut self.steps),
                _ => self.conclude(now, &id),
            }
        }
    }

    /// The knock at this member that is under way, or a new one; None: there are too many.
    fn knock(&mut self, now: Instant, member: Identity) -> Option<&mut Knock> {
        if self.knocks.get(&member.id).is_some_and(|knock| knock.member != member) {
            self.knocks.remove(&member.id);
        }
        if !self.knocks.contains_key(&member.id) {
            if self.knocks.len() >= KNOCKS_MAX {
                return None;
            }
            self.steps.push_back(Step::Knock(member));
            let knock = Knock { member, own: false, requesters: Vec::new(), refusals: 0, since: None, again: None, due: now + self.rtt * 2 };
            self.knocks.insert(member.id, knock);
        }
        self.knocks.get_mut(&member.id)
    }

    fn report(&mut self, knock: Knock, found: Found) {
        let member = knock.member;
        self.steps.extend(knock.requesters.into_iter().map(|to| Step::Report { to, member, found }));
    }

    fn conclude_if_complete(&mut self, now: Instant, id: &NodeId) {
        if self.inquiries.get(id).is_some_and(|inquiry| inquiry.waiting.is_empty()) {
            self.conclude(now, id);
        }
    }

    /// A round is over: nobody's refusal ends the inquiry, and what does not prove enough yet is asked again.
    fn conclude(&mut self, now: Instant, id: &NodeId) {
        let Some(mut inquiry) = self.inquiries.remove(id).filter(|inquiry| inquiry.refused) else { return };
        if inquiry.proves() {
            self.steps.push_back(Step::Gone(inquiry.member));
        } else {
            inquiry.waiting.clear();
            inquiry.again = Some(now.max(inquiry.since + RELOAD));
            self.inquiries.insert(*id, inquiry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Generation;

    const RTT: Duration = Duration::from_millis(250);

    fn identity(index: u8) -> Identity {
        Identity { id: NodeId([index; 16]), gossip: std::net::SocketAddr::from(([10, 0, 0, index], 7946)), generation: Generation(1) }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    fn steps(refusals: &mut Refusals) -> Vec<Step> {
        std::iter::from_fn(|| refusals.poll_step()).collect()
    }

    const MEMBER: u8 = 9;
    const HELPING: [u8; 3] = [1, 2, 3];

    /// A node that was refused twice by member 9's host and has asked its helpers, at 200 ms.
    fn asked() -> Refusals {
        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        for knocked in [100, 200] {
            refusals.fire(at(knocked - 1));
            assert_eq!(steps(&mut refusals), [], "not before its time");
            refusals.fire(at(knocked));
            assert_eq!(steps(&mut refusals), [Step::Knock(identity(MEMBER))]);
            refusals.handle_knock(at(knocked), &identity(MEMBER).id, true, &HELPING.map(identity), false);
        }
        let asks = HELPING.map(|helper| Step::Ask { helper: identity(helper), member: identity(MEMBER) });
        assert_eq!(steps(&mut refusals), asks);
        refusals
    }

    fn report_at(refusals: &mut Refusals, millis: u64, helper: u8, found: Found) {
        refusals.handle_report(at(millis), &identity(helper).id, &identity(MEMBER), found);
    }

    fn report(refusals: &mut Refusals, helper: u8, found: Found) {
        report_at(refusals, 300, helper, found);
    }

    /// The helpers are asked again, not before this time.
    fn asked_again(refusals: &mut Refusals, millis: u64) {
        assert_eq!(refusals.next_due(), Some(at(millis)));
        refusals.fire(at(millis));
        let asks = HELPING.map(|helper| Step::Ask { helper: identity(helper), member: identity(MEMBER) });
        assert_eq!(steps(refusals), asks);
    }

    #[test]
    fn who_answers_is_not_knocked_at() {
        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        refusals.heard(&identity(MEMBER).id);
        assert_eq!(refusals.next_due(), None);
    }

    #[test]
    fn a_member_that_all_refuse_twice_is_gone_once_they_have_spoken() {
        let mut refusals = asked();
        for helper in HELPING {
            assert_eq!(steps(&mut refusals), []);
            report(&mut refusals, helper, Found::Refusal);
        }
        assert_eq!(steps(&mut refusals), [], "a firewall that reloads its rules refuses all of them too");
        asked_again(&mut refusals, 100 + 400);
        for helper in HELPING {
            assert_eq!(steps(&mut refusals), [], "the next may have an answer");
            report_at(&mut refusals, 601, helper, Found::Refusal);
        }
        assert_eq!(steps(&mut refusals), [Step::Gone(identity(MEMBER))]);
        assert_eq!(refusals.next_due(), None);
    }

    /// One lost packet makes a helper silent that would have an answer: it, or others, are asked a third time.
    #[test]
    fn where_a_helper_is_silent_the_others_word_counts_the_third_time() {
        let mut refusals = asked();
        for (time, next) in [(450, 500), (750, 750), (1_000, 0)] {
            report_at(&mut refusals, time, 1, Found::Refusal);
            report_at(&mut refusals, time, 2, Found::Silence);
            assert_eq!(steps(&mut refusals), []);
            report_at(&mut refusals, time, 3, Found::Refusal);
            if next > 0 {
                asked_again(&mut refusals, next);
            }
        }
        assert_eq!(steps(&mut refusals), [Step::Gone(identity(MEMBER))]);
    }

    #[test]
    fn each_round_asks_the_next_ones() {
        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        let helpers = [1, 2, 3, 4, 5].map(identity);
        for knocked in [100, 200] {
            refusals.fire(at(knocked));
            refusals.handle_knock(at(knocked), &identity(MEMBER).id, true, &helpers, false);
        }
        let mut asked = Vec::new();
        for time in [300, 600, 950] {
            refusals.fire(at(time));
            for step in steps(&mut refusals) {
                if let Step::Ask { helper, .. } = step {
                    asked.push(helper);
                    refusals.handle_report(
                        at(time),
                        &helper.id,
                        &identity(MEMBER),
                        if helper == helpers[0] { Found::Silence } else { Found::Refusal },
                    );
                }
            }
        }
        assert_eq!(asked, [1, 2, 3, 4, 5, 1, 2, 3, 4].map(identity));
    }

    /// A firewall's REJECT on one path, or on most of them, is no death (PITFALLS §6).
    #[test]
    fn an_answer_to_one_helper_outweighs_the_refusals_of_the_others() {
        let mut refusals = asked();
        report(&mut refusals, 1, Found::Refusal);
        report(&mut refusals, 2, Found::Refusal);
        report(&mut refusals, 3, Found::Answer);
        refusals.fire(at(10_000));
        assert_eq!(steps(&mut refusals), []);
    }

    #[test]
    fn a_helper_that_does_not_speak_is_waited_for_and_then_done_without() {
        let mut refusals = asked();
        report(&mut refusals, 1, Found::Refusal);
        assert_eq!(refusals.next_due(), Some(at(200 + 600)));
        for asked in [800, 1_400] {
            refusals.fire(at(asked));
            asked_again(&mut refusals, asked);
            report_at(&mut refusals, asked + 100, 1, Found::Refusal);
        }
        refusals.fire(at(1_400 + 600));
        assert_eq!(steps(&mut refusals), [Step::Gone(identity(MEMBER))]);
    }

    /// No helper's refusal: the suspicion runs its time.
    #[test]
    fn without_a_helpers_word_the_own_refusals_prove_nothing() {
        let mut refusals = asked();
        report(&mut refusals, 1, Found::Silence);
        refusals.fire(at(10_000));
        assert_eq!(steps(&mut refusals), []);

        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        for knocked in [100, 200] {
            refusals.fire(at(knocked));
            refusals.handle_knock(at(knocked), &identity(MEMBER).id, true, &[], false);
        }
        assert_eq!(steps(&mut refusals).len(), 2, "two knocks, and nobody to ask at the moment");
    }

    /// In a cluster of two: the prober's own word.
    #[test]
    fn where_there_is_no_third_member_two_refusals_are_enough() {
        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        for knocked in [100, 200] {
            refusals.fire(at(knocked));
            refusals.handle_knock(at(knocked), &identity(MEMBER).id, true, &[], true);
        }
        assert_eq!(steps(&mut refusals).last(), Some(&Step::Gone(identity(MEMBER))));
    }

    /// A firewall that reloads its rules refuses for some tens of milliseconds.
    #[test]
    fn one_refusal_is_none() {
        let mut refusals = Refusals::new(RTT);
        refusals.question(at(0), identity(MEMBER));
        refusals.fire(at(100));
        refusals.handle_knock(at(101), &identity(MEMBER).id, true, &[], true);
        refusals.fire(at(201));
        refusals.handle_knock(at(451), &identity(MEMBER).id, false, &[], true);
        assert_eq!(steps(&mut refusals), [Step::Knock(identity(MEMBER)), Step::Knock(identity(MEMBER))]);
        assert_eq!(refusals.next_due(), None);
    }

    #[test]
    fn a_member_that_is_heard_meanwhile_is_not_gone() {
        let mut refusals = asked();
        report(&mut refusals, 1, Found::Refusal);
        refusals.heard(&identity(MEMBER).id);
        refusals.fire(at(10_000));
        assert_eq!(steps(&mut refusals), []);
    }

    #[test]
    fn a_helper_knocks_once_for_all_who_ask_and_tells_each_what_it_found() {
        type Happens = fn(&mut Refusals);
        let outcomes: [(Found, Happens); 3] = [
            (Found::Silence, |refusals| refusals.handle_knock(at(250), &identity(MEMBER).id, false, &[], false)),
            (Found::Answer, |refusals| refusals.heard(&identity(MEMBER).id)),
            (Found::Refusal, |refusals| {
                refusals.handle_knock(at(1), &identity(MEMBER).id, true, &[], false);
                refusals.fire(at(101));
                refusals.handle_knock(at(102), &identity(MEMBER).id, true, &[], false);
            }),
        ];
        for (found, outcome) in outcomes {
            let mut refusals = Refusals::new(RTT);
            for from in [1, 2, 2] {
                refusals.handle_request(at(0), identity(from), identity(MEMBER));
            }
            assert_eq!(steps(&mut refusals), [Step::Knock(identity(MEMBER))]);
            outcome(&mut refusals);
            let told: Vec<_> = steps(&mut refusals).into_iter().filter(|step| *step != Step::Knock(identity(MEMBER))).collect();
            assert_eq!(told, [1, 2].map(|to| Step::Report { to: identity(to), member: identity(MEMBER), found }));
        }
    }

    /// What a host or a helper says too late, or twice, is passed over.
    #[test]
    fn late_words_do_no_harm() {
        let mut refusals = asked();
        report(&mut refusals, 7, Found::Refusal);
        report(&mut refusals, 1, Found::Refusal);
        report(&mut refusals, 1, Found::Refusal);
        refusals.handle_knock(at(350), &identity(MEMBER).id, true, &[], true);
        assert_eq!(steps(&mut refusals), []);
        let renewed = Identity { generation: Generation(2), ..identity(MEMBER) };
        refusals.handle_report(at(450), &identity(2).id, &renewed, Found::Refusal);
        assert_eq!(steps(&mut refusals), []);
    }

    #[test]
    fn a_knock_that_the_host_lost_is_silence() {
        let mut refusals = Refusals::new(RTT);
        refusals.handle_request(at(0), identity(1), identity(MEMBER));
        refusals.fire(at(500));
        let silence = Step::Report { to: identity(1), member: identity(MEMBER), found: Found::Silence };
        assert_eq!(steps(&mut refusals), [Step::Knock(identity(MEMBER)), silence]);
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut refusals = Refusals::new(RTT);
        let many =
            |n: u16| Identity { id: NodeId([n.to_be_bytes()[0], n.to_be_bytes()[1], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ..identity(1) };
        for n in 0..1_000 {
            refusals.question(at(0), many(n));
            refusals.handle_request(at(0), identity(1), many(n));
            refusals.handle_request(at(0), many(n), many(0));
        }
        assert_eq!((refusals.questions.len(), refusals.knocks.len()), (QUESTIONS_MAX, KNOCKS_MAX));
        assert_eq!(refusals.knocks.values().map(|knock| knock.requesters.len()).max(), Some(REQUESTERS_MAX));
    }
}
