//! Attempts to get at what is not the agent's.

use std::fmt::Write;

use tests::reeve::Options;

use super::World;

/// Makes a test of each attempt.
macro_rules! attempts {
    ($($(#[$doc:meta])* $name:ident: $script:expr;)*) => {$(
        $(#[$doc])*
        #[tokio::test]
        async fn $name() {
            let mut world = World::open(Options::default()).await;
            let script: fn(&World) -> String = $script;
            let script = script(&world);
            world.attempt(&script).await;
        }
    )*};
}

attempts! {
    the_hosts_files_cannot_be_seen: |world: &World| {
        let data = world.reeve.data().display();
        format!(
            "for p in {data} {data}/reeve.db {data}/signing-key {data}/bootstrap-key {data}/agents \
             /etc/shadow /root /var/lib /boot /srv /sys/kernel /proc/1/root/root /proc/1/cwd/../..{data}; \
             do [ -e $p ] && echo sees $p; done; ls /home | grep -vx agent"
        )
    };
    nothing_but_its_own_can_be_written: |_: &World| {
        "for d in / /usr /usr/bin /etc /etc/ssl/certs /dev /proc /proc/sys/kernel /reeve /run /home; \
         do touch $d/written && echo wrote $d; done
         for f in /etc/passwd /etc/hosts /reeve/shim /proc/sys/kernel/core_pattern /proc/sysrq-trigger \
         /proc/sys/user/max_user_namespaces /proc/1/oom_score_adj; \
         do (echo x >>$f) && echo wrote $f; done"
            .to_owned()
    };
    /// Neither its token, which the boot document had, nor its journal.
    the_shim_cannot_be_seen: |_: &World| {
        "ls -A /run | grep -vx reeve | sed 's/$//' | while read d; do ls -A /run/$d; done
         ls -A /run/reeve | grep -vx egress.sock
         for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -e --boot; \
         tr '\\0' '\\n' <$p/environ | grep -a st_; ls -l $p/fd | grep journal; done
         cat /proc/1/environ; cat /proc/1/maps; head -c 1 /proc/1/mem; ls /proc/1/fd/
         [ $(ls -d /proc/[0-9]* | wc -l) -lt 12 ] || echo sees processes"
            .to_owned()
    };
    the_shim_cannot_be_signalled: |_: &World| {
        // Everything it may signal is its own.
        "kill -9 1; kill -TERM 1; kill -STOP 1; \
         perl -e 'for (2..400) { next if -e \"/proc/$_\"; print \"reached $_\\n\" if kill(0, $_) }'"
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
    no_program_gives_a_privilege: |_: &World| {
        "awk '$6 !~ /nosuid/ {print $5}' /proc/self/mountinfo
         awk '$6 !~ /nodev/ && $5 !~ \"^/dev\" {print $5}' /proc/self/mountinfo
         grep -E '^Cap' /proc/self/status | grep -v 0000000000000000
         grep -q '^NoNewPrivs:.1' /proc/self/status || echo new privileges
         grep -q '^Seccomp:.2' /proc/self/status || echo no filter
         cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id && [ $(/tmp/id -u) = $(id -u) ] || echo another
         perl -e 'use POSIX; print \"root\\n\" if setuid(0) || setgid(0) || $> == 0'
         for p in /usr/bin/su /usr/bin/mount /usr/bin/newgrp; do grep -l . $p >/dev/null && \
         [ \"$($p --reeve-no-such-option 2>&1 | grep -c '^uid=0')\" != 0 ] && echo $p; done
         mknod /tmp/disk b 8 0 && echo disk; chown 0 /tmp/id && echo chown"
            .to_owned()
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
#[tokio::test]
async fn what_an_attempt_needs_is_there() {
    let mut world = World::open(Options::default()).await;
    let said = world
        .run(&format!(
            "perl -e 'print syscall({}) == $$ ? \"calls\\n\" : \"no calls\\n\"'
             perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => \"/run/reeve/egress.sock\") \
             or die $!; print \"egress\\n\"'
             (echo >/dev/tcp/127.0.0.1/7301) && echo door
             for d in /workspace /home/agent /tmp /dev/shm; do touch $d/mine && echo $d; done
             pwd; id -un; bash -c 'sleep 100 & kill $!' && echo signals
             python3 -c 'print(\"python\")'; git init -q /tmp/git && echo git",
            libc::SYS_getpid
        ))
        .await;
    let expected = "calls\negress\ndoor\n/workspace\n/home/agent\n/tmp\n/dev/shm\n/workspace\n\
                    agent\nsignals\npython\ngit\n";
    assert_eq!(said, expected);
    world.reeve.stop().await;
}

#[tokio::test]
async fn another_agents_things_cannot_be_seen() {
    let mut world = World::open(Options::default()).await;
    let other = world.client.conversation().await;
    let secret = "echo secret-of-the-other | tee /workspace/secret >/home/agent/secret; \
                  cp /workspace/secret /tmp/secret; \
                  (setsid sleep 4321 </dev/null >/dev/null 2>&1 &); id -u; echo done";
    let theirs = world.client.ask(&other, &super::shell(secret)).await;
    assert!(theirs.ends_with("done\n"), "{theirs}");
    if rustix::process::geteuid().is_root() {
        assert_ne!(theirs, world.run("id -u; echo done").await, "each has a uid of its own");
    }
    world
        .attempt(
            "ls /workspace/secret /home/agent/secret /tmp/secret; \
             grep -rls secret-of-the-other /workspace /home /tmp /run /dev/shm; \
             cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep '[4]321'; pkill -f '[4]321' && echo killed; \
             ls -A /agents; ls -A /workspace/../agents",
        )
        .await;
}
