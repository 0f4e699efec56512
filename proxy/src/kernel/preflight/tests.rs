use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/net rw shared:9 - cgroup cgroup rw,net_cls,net_prio
50 31 0:38 /part /mnt/part rw - cgroup2 cgroup2 rw
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:3 master:1 - cgroup2 cgroup2 rw,nsdelegate
";

#[test]
fn cgroup2_is_found_by_type_and_whole_mounts_come_first() {
    let found = host::find_cgroup2(HYBRID);
    assert_eq!(found, Some("/sys/fs/cgroup/uni fied".into()));
    let other = "1 2 0:1 / / rw - ext4 /dev/vda rw";
    assert_eq!(host::find_cgroup2(other), None);
    assert_eq!(host::find_cgroup2("no mountinfo at all"), None);
}

#[test]
fn kernels_below_the_floor_are_refused_and_below_the_recommended_warned_of() {
    for (release, verdict) in [
        ("5.10.0-28-amd64", Verdict::Missing),
        ("5.15.0", Verdict::Warning),
        ("6.0.19", Verdict::Warning),
        ("6.1-rc3", Verdict::Ok),
        ("6.18.44-fc", Verdict::Ok),
        ("nonsense", Verdict::Warning),
    ] {
        let check = kernel(KernelVersion::parse(release));
        assert_eq!(check.verdict, verdict, "{release}");
        assert_eq!(check.fix.is_some(), verdict != Verdict::Ok, "{release}");
    }
}

fn verdicts(mask: u64, first: bool) -> Vec<Verdict> {
    let checks = capabilities::checks(Some(mask), first);
    checks.iter().map(|check| check.verdict).collect()
}

#[test]
fn each_missing_capability_is_named_and_sys_admin_counts_for_bpf_and_perfmon() {
    use Verdict::{Missing, Ok, Warning};
    let none = [Missing, Missing, Warning, Warning, Warning, Warning];
    assert_eq!(verdicts(0, true), none);
    assert_eq!(
        verdicts(1 << 39 | 1 << 12, true),
        [Ok, Ok, Warning, Warning, Warning, Warning]
    );
    assert_eq!(
        verdicts(1 << 21, true),
        [Ok, Missing, Ok, Ok, Warning, Warning]
    );
    let status = "Name:\tx\nCapEff:\t000001ffffffffff\n";
    assert_eq!(host::effective_capabilities(status), Some(0x1ff_ffff_ffff));
}

#[test]
fn capabilities_of_another_user_namespace_do_not_count() {
    assert_eq!(verdicts(u64::MAX, false).first(), Some(&Verdict::Missing));
    assert!(host::is_first_user_namespace(
        "         0          0 4294967295\n"
    ));
    assert!(!host::is_first_user_namespace("0 1000 1\n"));
}

#[test]
fn v1_network_controllers_matter_only_below_the_floor() {
    let old = v1_controllers(HYBRID, Some(KernelVersion(5, 10)));
    assert_eq!(old.verdict, Verdict::Warning);
    let new = v1_controllers(HYBRID, Some(KernelVersion(6, 1)));
    assert_eq!(new.verdict, Verdict::Ok);
}

#[test]
fn a_narrow_port_range_is_warned_of() {
    assert_eq!(port_range("32768\t60999\n").verdict, Verdict::Ok);
    assert_eq!(port_range("60000\t60999\n").verdict, Verdict::Warning);
    assert_eq!(port_range("").verdict, Verdict::Warning);
}

#[test]
fn what_is_missing_ends_with_77_and_names_the_fix() {
    let preflight = Preflight {
        checks: vec![bpffs("")],
    };
    let failure = preflight.require().unwrap_err();
    assert!(failure.to_string().contains("mount -t bpf"), "{failure}");
    assert!(preflight.require_unpinned().is_ok(), "an exec pins nothing");
    let preflight = Preflight {
        checks: vec![embedded(&[])],
    };
    let failure = preflight.require().unwrap_err();
    assert_eq!(failure.exit(), Exit::Missing);
    assert!(
        failure.to_string().contains("cargo xtask build"),
        "{failure}"
    );
}

#[test]
fn this_host_can_be_probed_without_privileges() {
    let preflight = Preflight::probe(b"object", 16_384);
    assert!(preflight.checks.len() > 10);
    let fixless = |check: &&Check| check.verdict == Verdict::Missing && check.fix.is_none();
    assert!(preflight.checks.iter().find(fixless).is_none());
}

fn fails_with(errno: i32) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(errno))
}

#[test]
fn a_kernel_without_bpf_or_its_links_is_told_from_one_that_refuses_to_say() {
    use features::Answer;
    use nix::errno::Errno;
    for (errno, bpf, links) in [
        (Errno::ENOSYS, Verdict::Missing, Verdict::Ok),
        (Errno::EINVAL, Verdict::Ok, Verdict::Missing),
        (Errno::EBADF, Verdict::Ok, Verdict::Ok),
        (Errno::EPERM, Verdict::Warning, Verdict::Warning),
    ] {
        let check = features::bpf(&Answer::of(errno, Errno::ENOSYS), false);
        assert_eq!(check.verdict, bpf, "{errno}");
        let check = features::links(&Answer::of(errno, Errno::EINVAL), false);
        assert_eq!(check.verdict, links, "{errno}");
    }
}

#[test]
fn a_refusal_is_missing_only_for_a_process_that_has_the_capabilities() {
    let refused = fails_with(libc::EPERM);
    let with = features::sk_lookup(&refused, true);
    assert_eq!(with.verdict, Verdict::Missing);
    assert!(with.fix.unwrap().contains("seccomp"));
    let without = features::sk_lookup(&refused, false);
    assert_eq!(without.verdict, Verdict::Warning);
    let unknown = features::sk_lookup(&fails_with(libc::EINVAL), false);
    assert_eq!(unknown.verdict, Verdict::Missing);
}

#[test]
fn hooks_that_the_kernel_does_not_have_are_named_whatever_the_others_answer() {
    let hooks = [
        ("connect4", Ok(())),
        ("sockops", fails_with(libc::EPERM)),
        ("getsockname4", fails_with(libc::EINVAL)),
        ("getsockname6", fails_with(libc::EINVAL)),
    ];
    let check = features::cgroup_programs(&hooks, true);
    assert_eq!(check.verdict, Verdict::Missing);
    assert_eq!(check.seen, "the kernel has no getsockname4, getsockname6");
    let [there, refused, ..] = hooks;
    let check = features::cgroup_programs(&[there, refused], false);
    assert_eq!(check.verdict, Verdict::Warning);
}

#[test]
fn what_needs_no_privilege_to_ask_is_found_on_this_host() {
    let cookie = features::netns_cookie(crate::kernel::sys::netns_cookie());
    assert_eq!(cookie.verdict, Verdict::Ok, "{}", cookie.seen);
    let diag = features::sock_diag(crate::kernel::sockdiag::probe());
    assert_eq!(diag.verdict, Verdict::Ok, "{}", diag.seen);
}
