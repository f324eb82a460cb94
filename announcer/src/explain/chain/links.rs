//! The links so far, and what is wrong with them.

use std::time::Duration;

use super::super::{
    facts::Given,
    finding::{Announcer, Finding, Link, Verdict},
    remedy::Remedy,
};

/// The links so far.
#[derive(Debug)]
pub(super) struct Chain<'a> {
    pub(super) given: Given<'a>,
    pub(super) links: Vec<Link>,
    pub(super) announcers: Vec<Announcer>,
    /// How long it can take until leases say more.
    pub(super) undecided: Option<Duration>,
    /// Something that has to be known cannot be.
    pub(super) unknown: bool,
    /// Why clients may fail though a VIP is announced.
    pub(super) doubt: Option<Link>,
}

/// Something that is wrong.
pub(super) struct Wrong {
    pub(super) finding: Finding,
    pub(super) says: String,
    pub(super) details: Vec<String>,
    pub(super) remedy: Option<Remedy>,
}

impl Wrong {
    pub(super) fn new(finding: Finding, says: impl Into<String>) -> Self {
        Self { finding, says: says.into(), details: Vec::new(), remedy: None }
    }

    pub(super) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<Option<Remedy>>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl<'a> Chain<'a> {
    pub(super) const fn new(given: Given<'a>) -> Self {
        Self {
            given,
            links: Vec::new(),
            announcers: Vec::new(),
            undecided: None,
            unknown: false,
            doubt: None,
        }
    }

    pub(super) fn ok(&mut self, of: impl ToString, link: &'static str, says: impl Into<String>) {
        self.ok_with(of, link, says, Vec::new());
    }

    pub(super) fn ok_with(
        &mut self,
        of: impl ToString,
        link: &'static str,
        says: impl Into<String>,
        details: Vec<String>,
    ) {
        self.push(Verdict::Ok, of, link, None, says.into(), details, None);
    }

    pub(super) fn note(&mut self, of: impl ToString, link: &'static str, wrong: Wrong) {
        let Wrong { finding, says, details, remedy } = wrong;
        self.push(Verdict::Note, of, link, Some(finding), says, details, remedy);
    }

    pub(super) fn problem(&mut self, of: impl ToString, link: &'static str, wrong: Wrong) {
        let Wrong { finding, says, details, remedy } = wrong;
        self.push(Verdict::Problem, of, link, Some(finding), says, details, remedy);
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a link is made")]
    fn push(
        &mut self,
        verdict: Verdict,
        of: impl ToString,
        link: &'static str,
        finding: Option<Finding>,
        says: String,
        details: Vec<String>,
        remedy: Option<Remedy>,
    ) {
        let of = of.to_string();
        let remedy = remedy.map(|remedy| remedy.line(&self.given));
        self.links.push(Link { verdict, of, link, says, details, finding, remedy });
    }

    pub(super) fn first_problem(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.verdict == Verdict::Problem)
    }

    /// Problems from the link numbered `from` on are nobody's who is asked about.
    pub(super) fn demote(&mut self, from: usize) {
        for link in self.links.iter_mut().skip(from) {
            if link.verdict == Verdict::Problem {
                link.verdict = Verdict::Note;
            }
        }
    }

    pub(super) fn wait(&mut self, duration: Duration) {
        self.undecided = self.undecided.max(Some(duration));
    }
}
