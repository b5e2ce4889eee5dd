//! `stickyBy`, `session`, `release` and `mirror` of a rule, and `plugins.NAME.canary`.

use super::Check;
use super::upstream::Upstreams;
use crate::document::{
    CanaryDocument, MirrorDocument, MirrorEntry, ReleaseDocument, RollbackDocument, RuleDocument,
    StickyEntry, StickyWord,
};
use crate::node::Path;
use crate::plan::{Action, Bounds, Course, Mirror, Release, Split, Sticky, WHOLE};
use crate::problem::Fault;
use crate::types::{Timeout, check_host_suffix, parse_header_name};
use std::time::Duration;

/// What a rule says besides where it forwards to.
pub(super) fn split(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &RuleDocument,
    (action, upstreams): (&Action, &Upstreams),
) -> Split {
    let several = matches!(action, Action::Forward(targets) if targets.len() > 1);
    if written.sticky_by.is_some() && written.forward.is_some() && !several {
        let fault = Fault::new("there is one upstream only, so every client stays with it");
        check.warn(&path.key("stickyBy"), fault.hint("leave it out, or forward to several upstreams"));
    }
    let release = written.release.as_ref();
    Split {
        sticky: written
            .sticky_by
            .as_ref()
            .and_then(|sticky| self::sticky(check, &path.key("stickyBy"), sticky)),
        session: written
            .session
            .as_ref()
            .and_then(|session| super::session::session(check, &path.key("session"), session)),
        release: release.and_then(|own| self::release(check, path, (own, written), (action, upstreams))),
        mirrors: written
            .mirror
            .as_ref()
            .map(|mirrors| self::mirrors(check, &path.key("mirror"), mirrors, upstreams))
            .unwrap_or_default(),
    }
}

pub(super) fn sticky(check: &mut Check<'_>, path: &Path<'_>, written: &StickyEntry) -> Option<Sticky> {
    let key = match written {
        StickyEntry::Word(StickyWord::Address) => return Some(Sticky::Address),
        StickyEntry::Key(key) => key,
    };
    if let Some(name) = &key.header {
        return check.take(&path.key("header"), parse_header_name(name)).map(Sticky::Header);
    }
    let name = key.cookie.as_ref()?;
    // The name of a cookie is a token, like that of a header, but case counts (RFC 6265, 4.1.1).
    let token = parse_header_name(name).map_err(|_| {
        Fault::new(format!("{name:?} is not a cookie's name")).hint("letters, digits and - without blanks")
    });
    check.take(&path.key("cookie"), token).map(|_| Sticky::Cookie(name.clone()))
}

fn release(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (written, rule): (&ReleaseDocument, &RuleDocument),
    (action, upstreams): (&Action, &Upstreams),
) -> Option<Release> {
    let place = path.key("release");
    let steps = written.steps.as_deref();
    let steps = self::steps(check, &place.key("steps"), steps.unwrap_or(&STEPS));
    let bounds = bounds(check, &place.key("rollbackOn"), written.rollback_on.as_ref(), false);
    let to = upstreams.find(check, &place.key("to"), &written.to)?;
    let Action::Forward(targets) = action else { return None };
    let forward = rule.forward.as_deref().unwrap_or_default();
    let Some(at) = forward.iter().position(|target| target.upstream == written.to) else {
        let fault = Fault::new(format!("the rule does not forward to {:?}", written.to));
        check.fault(&place.key("to"), fault.hint("forward names the old versions and the new one"));
        return None;
    };
    if forward.get(at).is_some_and(|target| target.weight.is_some()) {
        let fault = Fault::new("the weight has no effect: the release decides on the share of this upstream");
        check.warn(&path.key("forward").index(at).key("weight"), fault.hint("leave it out"));
    }
    if !targets.iter().any(|target| target.upstream != to && target.weight > 0) {
        let fault = Fault::new("there is no other upstream that this one could take over from");
        check.fault(
            &place.key("to"),
            fault.hint("forward names the old versions, with a weight, and the new one"),
        );
    }
    let course = course(check, &place, (written.interval, written.min_requests), (steps, bounds));
    Some(Release { to, course })
}

/// The course of a plugin's other version.
pub(super) fn canary_course(check: &mut Check<'_>, path: &Path<'_>, written: &CanaryDocument) -> Course {
    let steps = match (written.percent, &written.steps) {
        (Some(percent), _) => vec![share(check, &path.key("percent"), percent)],
        (None, steps) => self::steps(check, &path.key("steps"), steps.as_deref().unwrap_or(&STEPS)),
    };
    let bounds = bounds(check, &path.key("rollbackOn"), written.rollback_on.as_ref(), true);
    course(check, path, (written.interval, written.min_requests), (steps, bounds))
}

fn course(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (interval, min_requests): (Option<Timeout>, Option<u64>),
    (steps, bounds): (Vec<u32>, Bounds),
) -> Course {
    Course {
        steps,
        interval: check.positive(&path.key("interval"), interval, Duration::from_secs(300)),
        min_requests: min_requests.unwrap_or(100),
        bounds,
    }
}

fn steps(check: &mut Check<'_>, path: &Path<'_>, written: &[f64]) -> Vec<u32> {
    let mut steps: Vec<u32> = Vec::with_capacity(written.len());
    for (index, &percent) in written.iter().enumerate() {
        let place = path.index(index);
        let step = share(check, &place, percent);
        if !(percent > 0.0 && percent <= 100.0) {
            let fault = Fault::new(format!("{percent} is no share of the requests in percent"));
            check.fault(&place, fault.hint("more than 0, at most 100"));
        } else if steps.last().is_some_and(|&before| before >= step) {
            let fault = Fault::new(format!("the step of {percent} % is not larger than the one before"));
            check.fault(&place, fault.hint("steps grow: [1, 10, 50, 100]"));
        }
        steps.push(step);
    }
    steps
}

/// A share in percent as millionths; what is not zero is at least one.
fn share(check: &mut Check<'_>, path: &Path<'_>, percent: f64) -> u32 {
    if !percent.is_finite() {
        check.fault(path, Fault::new(format!("{percent} is no share")).hint("0 to 100"));
        return 0;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let share = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
    if percent > 0.0 { share.clamp(1, WHOLE) } else { share }
}

fn bounds(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: Option<&RollbackDocument>,
    of_plugin: bool,
) -> Bounds {
    let written = written.cloned().unwrap_or_default();
    if !of_plugin && written.failures.is_some() {
        let fault = Fault::new("an upstream has no calls that break off");
        check.fault(&path.key("failures"), fault.hint("errorPercent counts what fails at an upstream"));
    }
    let times = written.p99_over_old.unwrap_or(2.0);
    if times > 0.0 && times < 1.0 {
        let fault = Fault::new(format!("{times} times the old version's is less than that"));
        check.fault(&path.key("p99OverOld"), fault.hint("1.5 allows half as much again; 0 allows anything"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let times = (times.clamp(0.0, 1000.0) * 100.0).round() as u32;
    Bounds {
        errors: share(check, &path.key("errorPercent"), written.error_percent.unwrap_or(5.0)),
        errors_over_old: share(
            check,
            &path.key("errorPercentOverOld"),
            written.error_percent_over_old.unwrap_or(1.0),
        ),
        p99: written.p99.map(|time| time.0).filter(|time| !time.is_zero()),
        p99_over_old: (times > 0).then_some(times),
        failures: of_plugin.then(|| written.failures.unwrap_or(0)),
    }
}

fn mirrors(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &MirrorEntry,
    upstreams: &Upstreams,
) -> Vec<Mirror> {
    match written {
        MirrorEntry::One(one) => mirror(check, path, one, upstreams).into_iter().collect(),
        MirrorEntry::Several(several) => {
            let several = several.iter().enumerate();
            several.filter_map(|(index, one)| mirror(check, &path.index(index), one, upstreams)).collect()
        }
    }
}

fn mirror(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &MirrorDocument,
    upstreams: &Upstreams,
) -> Option<Mirror> {
    let host_suffix = written.host_suffix.clone().unwrap_or_default();
    check.take(&path.key("hostSuffix"), check_host_suffix(&host_suffix));
    let share = share(check, &path.key("percent"), written.percent.unwrap_or(100.0));
    let timeout = check.positive(&path.key("timeout"), written.timeout, Duration::from_secs(10));
    let place = path.key("upstream");
    let upstream = upstreams.find_for_requests(check, &place, &written.upstream)?;
    Some(Mirror {
        upstream,
        share,
        host_suffix,
        timeout,
        limit: written.limit.unwrap_or(128) as usize,
        buffer: written.buffer.map_or(512 << 10, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
    })
}

/// The shares of a release that names none, in percent.
const STEPS: [f64; 4] = [1.0, 10.0, 50.0, 100.0];
