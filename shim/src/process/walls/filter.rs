//! The system calls that no agent may make.
//!
//! A list of what is refused, not of what is allowed: agents run compilers and interpreters of every
//! kind. Refused is what reaches into other processes, changes the view of the machine, loads code
//! into the kernel, or opens parts of it that tools do not use and that have been broken before.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Is, SeccompCondition,
    SeccompFilter, SeccompRule,
};

use super::stage::{Failure, at};

/// Answered with EPERM, whatever the arguments.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Another view of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Files by other ways than their names.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // Keys, which are not kept in namespaces.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The inside of the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_syslog,
    // The machine itself.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Answered as by a kernel that does not have them, so that libraries take the older way: the flags
/// of `clone3` are out of a filter's sight, and what `memfd_create` makes out of every limit's.
const ABSENT: &[c_long] = &[libc::SYS_clone3, libc::SYS_memfd_create, libc::SYS_memfd_secret];

/// Each makes a namespace. The one for time is not among them: to `clone` its bit is a signal's.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Reach a process by its number, which is their first argument: refused for the first of a container or
/// a room, which is the shim, or what stands in for it.
const REACHING: [c_long; 7] = [
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_prlimit64,
];

/// The number of that process.
const FIRST: u64 = 1;

/// What programs talk by. Others, such as `AF_ALG`, `AF_VSOCK` and `AF_PACKET`, are parts of the kernel.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// `ioctl`s that put words into a terminal's mouth.
const TERMINAL: [u64; 2] = [libc::TIOCSTI, 0x541C];

/// The most bytes of a System V segment: what databases use as a lock, and little to hoard.
const SEGMENT: u64 = 64 << 10;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Puts the filter on this process and all it starts. Needs no new privileges to be set.
pub(super) fn install() -> Result<(), Failure> {
    let install = || -> Result<(), seccompiler::Error> {
        for program in programs()? {
            seccompiler::apply_filter(&program)?;
        }
        Ok(())
    };
    install().map_err(io::Error::other).map_err(at("the filter of system calls"))
}

fn programs() -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let absent = ABSENT.iter().map(|&call| (call, Vec::new())).collect();
    Ok(vec![
        compile(refused()?, libc::EPERM)?,
        compile(absent, libc::ENOSYS)?,
        #[cfg(target_arch = "x86_64")]
        other_numbers(),
    ])
}

fn compile(rules: Rules, errno: libc::c_int) -> Result<BpfProgram, seccompiler::Error> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

/// Refuses the calls of the x32 ABI, which have numbers of their own for all of the above.
#[cfg(target_arch = "x86_64")]
fn other_numbers() -> BpfProgram {
    use seccompiler::sock_filter;
    const OTHERS: u32 = 0x4000_0000;
    let errno = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let code = |code: u32| u16::try_from(code).unwrap_or_default();
    vec![
        // The number is the first word of what a filter sees.
        sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 },
        sock_filter { code: code(libc::BPF_JMP | libc::BPF_JGE), jt: 0, jf: 1, k: OTHERS },
        sock_filter { code: code(libc::BPF_RET), jt: 0, jf: 0, k: errno },
        sock_filter { code: code(libc::BPF_RET), jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

fn refused() -> Result<Rules, seccompiler::Error> {
    let mut rules: Rules = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    let mut namespaces = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        namespaces.push(rule([(0, Width::Qword, Is::MaskedEq(flag), flag)])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    for call in REACHING {
        rules.insert(call, vec![rule([(0, Width::Dword, Is::Eq, FIRST)])?]);
    }
    let other = FAMILIES.map(|family| (0, Width::Dword, Is::Ne, u64::from(family.unsigned_abs())));
    let netlink = u64::from(libc::AF_NETLINK.unsigned_abs());
    // Netlink lists interfaces, which is its protocol 0, and much else.
    let lists = [(0, Width::Dword, Is::Eq, netlink), (2, Width::Dword, Is::Ne, 0)];
    rules.insert(libc::SYS_socket, vec![rule(other)?, rule(lists)?]);
    let terminal = TERMINAL.map(|call| rule([(1, Width::Dword, Is::Eq, call)]));
    rules.insert(libc::SYS_ioctl, terminal.into_iter().collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_shmget, vec![rule([(1, Width::Qword, Is::Gt, SEGMENT)])?]);
    Ok(rules)
}

fn rule(
    conditions: impl IntoIterator<Item = (u8, Width, Is, u64)>,
) -> Result<SeccompRule, seccompiler::Error> {
    let conditions = conditions.into_iter();
    let conditions =
        conditions.map(|(at, width, is, value)| SeccompCondition::new(at, width, is, value));
    Ok(SeccompRule::new(conditions.collect::<Result<_, _>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_the_kernel_has_room_for_it() {
        let programs = programs().unwrap();
        assert!(programs.iter().map(Vec::len).sum::<usize>() < 4096);
        assert!(programs.iter().all(|program| !program.is_empty()));
    }
}
