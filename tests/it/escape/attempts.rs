//! Attempts to get at what is not the agent's.

use std::fmt::Write;

use tests::reeve::Options;

use super::{Home, World};

/// Makes two tests of each attempt.
macro_rules! attempts {
    ($($(#[$doc:meta])* $name:ident: $script:expr;)*) => {
        mod sandbox {
            $($(#[$doc])* #[tokio::test]
            async fn $name() {
                super::try_in(super::Home::Sandbox, super::scripts::$name).await;
            })*
        }
        mod docker {
            $($(#[$doc])* #[tokio::test]
            async fn $name() {
                super::try_in(super::Home::Docker, super::scripts::$name).await;
            })*
        }
        /// What is run, as the world has it.
        mod scripts {
            use super::{World, system_calls};
            $(pub(super) fn $name(world: &World) -> String {
                let script: fn(&World) -> String = $script;
                script(world)
            })*
        }
    };
}

async fn try_in(home: Home, script: fn(&World) -> String) {
    let mut world = World::open(home, Options::default()).await;
    let script = script(&world);
    world.attempt(&script).await;
}

attempts! {
    the_hosts_files_cannot_be_seen: |world: &World| {
        let data = world.reeve.data().display();
        // An image has its own of these.
        let system = world.home.of_sandbox("/etc/shadow /root /var/lib /boot /srv /sys/kernel");
        format!(
            "for p in {data} {data}/reeve.db {data}/signing-key {data}/bootstrap-key {data}/agents \
             /var/run/docker.sock /dev/vda /dev/sda /dev/nvme0n1 /dev/mem /dev/kmsg /dev/fuse \
             /sys/kernel/debug/tracing /sys/fs/cgroup/memory/release_agent \
             {system} /proc/1/root/root /proc/1/cwd/../..{data}; \
             do [ -e $p ] && echo sees $p; done; ls /home | grep -vx agent"
        )
    };
    nothing_but_its_own_can_be_written: |_: &World| {
        "for d in / /usr /usr/bin /etc /etc/ssl/certs /dev /proc /proc/sys/kernel /reeve /run /home \
         /journal /agents /sys/fs/cgroup /repositories; \
         do touch $d/written && echo wrote $d; done
         for f in /etc/passwd /etc/hosts /reeve/shim /usr/local/bin/shim /sys/fs/cgroup/cgroup.procs \
         /sys/fs/cgroup/memory/memory.limit_in_bytes /proc/sys/kernel/core_pattern /proc/sysrq-trigger \
         /proc/sys/user/max_user_namespaces /proc/1/oom_score_adj; \
         do (echo x >>$f) && echo wrote $f; done"
            .to_owned()
    };
    /// Neither its token, which the boot document had, nor its journal.
    the_shim_cannot_be_looked_into: |world: &World| {
        // What names the program of another process is no secret, but in a sandbox it is not there.
        let unseen = world.home.of_sandbox(
            "tr '\\0' ' ' <$p/cmdline | grep -e --boot",
        );
        let alone = world.home.of_sandbox(
            "[ $(ls -d /proc/[0-9]* | wc -l) -lt 12 ] || echo sees processes",
        );
        format!(
            "ls -A /run | grep -vxE 'reeve|lock' | while read d; do ls -A /run/$d; done
             ls -A /run/reeve | grep -vx egress.sock; for d in /journal /run/journal; do ls -A $d; done
             for p in /proc/[0-9]*; do {unseen}
             tr '\\0' '\\n' <$p/environ | grep -aE 'st_[0-9A-Z]{{26}}|REEVE_BOOT'; \
             ls -l $p/fd | grep journal; done
             for f in environ maps mem auxv stack syscall io; do head -c 1 /proc/1/$f | tr -d '\\0'; done
             ls /proc/1/fd/ /proc/1/cwd/ /proc/1/map_files/; readlink /proc/1/exe /proc/1/ns/mnt
             {alone}"
        )
    };
    the_shim_cannot_be_signalled: |_: &World| {
        // Everything it may signal is its own.
        "for s in 0 CONT TERM STOP KILL; do kill -$s 1 && echo $s; done; prlimit --pid 1 --nofile=3:3 && \
         echo limits; perl -e 'for (2..400) { next if -e \"/proc/$_\"; \
         print \"reached $_\\n\" if kill(0, $_) }'
         for p in /proc/[0-9]*; do [ \"$(awk '/^Uid/ {print $2}' $p/status)\" = \"$(id -u)\" ] || \
         { kill -0 ${p#/proc/} && echo reached another $p; }; done"
            .to_owned()
    };
    /// The host, metadata, gateways, and the internet.
    nothing_is_reached_by_network: |world: &World| {
        let port = world.reeve.url.rsplit(':').next().unwrap().to_owned();
        format!(
            "for a in 127.0.0.1/{port} 169.254.169.254/80 169.254.170.2/80 10.0.0.1/80 172.17.0.1/{port} \
             192.168.0.1/80 192.0.2.1/443 8.8.8.8/53; do timeout 2 bash -c \"echo >/dev/tcp/$a\" && \
             echo reached $a; done
             tail -n +3 /proc/net/dev | grep -v lo:; tail -n +2 /proc/net/route
             perl -MIO::Socket::UNIX -e 'for (`tail -n +2 /proc/net/unix`) {{ print if m!/! && !m!reeve! }}'"
        )
    };
    no_program_gives_a_privilege: |world: &World| {
        // An engine trusts that there are no new privileges.
        let mounts = world.home.of_sandbox(
            "awk '$6 !~ /nosuid/ {print $5}' /proc/self/mountinfo
             awk '$6 !~ /nodev/ && $5 !~ \"^/dev\" {print $5}' /proc/self/mountinfo\n",
        );
        let rest = "grep -E '^Cap' /proc/self/status | grep -v 0000000000000000
         grep -q '^NoNewPrivs:.1' /proc/self/status || echo new privileges
         grep -q '^Seccomp:.2' /proc/self/status || echo no filter
         cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id && [ $(/tmp/id -u) = $(id -u) ] || echo another
         perl -e 'use POSIX; print \"root\\n\" if setuid(0) || setgid(0) || $> == 0'
         for p in /usr/bin/su /usr/bin/mount /usr/bin/newgrp; do grep -l . $p >/dev/null && \
         [ \"$($p --reeve-no-such-option 2>&1 | grep -c '^uid=0')\" != 0 ] && echo $p; done
         mknod /tmp/disk b 8 0 && echo disk; chown 0 /tmp/id && echo chown";
        format!("{mounts}{rest}")
    };
    /// Answered as refused or as not there, whatever the arguments.
    the_kernel_is_not_asked: |_: &World| system_calls();
    no_namespace_is_made: |_: &World| {
        format!(
            "unshare -U true && echo user; unshare -m true && echo mount; unshare -n true && echo net
             unshare -p -f true && echo pid; unshare -Ur true && echo root
             perl -e 'for my $flag (0x10000000, 0x20000, 0x20000000, 0x40000000, 0x8000000, 0x4000000, \
             0x2000000) {{ my $got = syscall({clone}, $flag | 17, 0, 0, 0, 0); exit if $got == 0; \
             print \"$flag\\n\" if $got > 0 }}'",
            clone = libc::SYS_clone
        )
    };
    no_strange_socket_is_opened: |_: &World| {
        // AF_ALG, AF_VSOCK, AF_PACKET, AF_KEY, AF_RDS, AF_TIPC, AF_BLUETOOTH, raw sockets, netlink's audit.
        "perl -e 'for ([38, 5, 0], [40, 1, 0], [17, 3, 0], [15, 3, 2], [21, 5, 0], [30, 1, 0], \
         [31, 1, 0], [2, 3, 1], [16, 3, 9], [16, 3, 12]) { \
         print \"@$_\\n\" if socket(my $s, $$_[0], $$_[1], $$_[2]) }'"
            .to_owned()
    };
    nothing_is_typed_into_a_terminal: |_: &World| {
        "perl -e 'open my $f, \"<\", \"/dev/null\"; for (0x5412, 0x541C) { my $c = \"x\"; \
         ioctl($f, $_, $c); print \"$_: $!\\n\" unless $!{EPERM} }'"
            .to_owned()
    };
}

/// Every system call that no agent may make, with arguments that some of them would take.
fn system_calls() -> String {
    let calls = [
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("process_vm_writev", libc::SYS_process_vm_writev),
        ("pidfd_getfd", libc::SYS_pidfd_getfd),
        ("mount", libc::SYS_mount),
        ("umount2", libc::SYS_umount2),
        ("pivot_root", libc::SYS_pivot_root),
        ("chroot", libc::SYS_chroot),
        ("move_mount", libc::SYS_move_mount),
        ("open_tree", libc::SYS_open_tree),
        ("fsopen", libc::SYS_fsopen),
        ("fsmount", libc::SYS_fsmount),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("clone3", libc::SYS_clone3),
        ("name_to_handle_at", libc::SYS_name_to_handle_at),
        ("open_by_handle_at", libc::SYS_open_by_handle_at),
        ("add_key", libc::SYS_add_key),
        ("request_key", libc::SYS_request_key),
        ("keyctl", libc::SYS_keyctl),
        ("bpf", libc::SYS_bpf),
        ("perf_event_open", libc::SYS_perf_event_open),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("init_module", libc::SYS_init_module),
        ("finit_module", libc::SYS_finit_module),
        ("delete_module", libc::SYS_delete_module),
        ("kexec_load", libc::SYS_kexec_load),
        ("reboot", libc::SYS_reboot),
        ("swapon", libc::SYS_swapon),
        ("acct", libc::SYS_acct),
        ("quotactl", libc::SYS_quotactl),
        ("sethostname", libc::SYS_sethostname),
        ("settimeofday", libc::SYS_settimeofday),
        ("memfd_create", libc::SYS_memfd_create),
        // The same under the numbers of another ABI.
        ("x32", 0x4000_0000 + libc::SYS_ptrace),
    ];
    let mut script = String::from("perl -e 'use Errno;\n");
    for (name, number) in calls {
        writeln!(
            script,
            "$! = 0; print \"{name}: $!\\n\" unless syscall({number}, 0, 0, 0, 0, 0) == -1 && \
             ($!{{EPERM}} || $!{{ENOSYS}});"
        )
        .unwrap();
    }
    script + "'"
}

/// The attempts above fail because of walls, not because what they try with is missing.
async fn what_an_attempt_needs(home: Home) {
    let mut world = World::open(home, Options::default()).await;
    // The way to the model by TCP is a room's.
    let door = home.of_sandbox("(echo >/dev/tcp/127.0.0.1/7301) && echo door");
    let said = world
        .run(&format!(
            "perl -e 'print syscall({}) == $$ ? \"calls\\n\" : \"no calls\\n\"'
             perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => \"/run/reeve/egress.sock\") \
             or die $!; print \"egress\\n\"'
             {door}
             for d in /workspace /home/agent /tmp /dev/shm; do touch $d/mine && echo $d; done
             pwd; id -un; bash -c 'sleep 100 & kill $!' && echo signals
             git init -q /tmp/git && echo git; prlimit --pid $$ --nofile >/dev/null && echo limits",
            libc::SYS_getpid
        ))
        .await;
    let door = home.of_sandbox("door\n");
    let expected = format!(
        "calls\negress\n{door}/workspace\n/home/agent\n/tmp\n/dev/shm\n/workspace\nagent\nsignals\n\
         git\nlimits\n"
    );
    assert_eq!(said, expected);
    world.reeve.stop().await;
}

mod needs {
    use super::{Home, what_an_attempt_needs};

    mod sandbox {
        #[tokio::test]
        async fn are_there() {
            super::what_an_attempt_needs(super::Home::Sandbox).await;
        }
    }

    mod docker {
        #[tokio::test]
        async fn are_there() {
            super::what_an_attempt_needs(super::Home::Docker).await;
        }
    }
}
