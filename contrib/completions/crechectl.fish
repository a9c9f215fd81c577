# Completion of crechectl for fish: copy it to ~/.config/fish/completions/crechectl.fish.

set -g __crechectl_verbs status start stop restart signal pid tail clear reread update avail add \
    remove ps logs inspect rename rm kill pause unpause wait stats top attach exec run create \
    images load import tag rmi events info doctor version shutdown

function __crechectl_words # the names of a kind, as the daemon has them
    set -l tokens (commandline -opc)
    set -l socket
    for at in (seq 2 (count $tokens))
        if contains -- $tokens[$at] -s --socket; and test $at -lt (count $tokens)
            set socket --socket $tokens[(math $at + 1)]
        end
    end
    crechectl $socket complete-words $argv[1] 2>/dev/null
end

function __crechectl_verb # the verb of the command line, if there is one already
    for token in (commandline -opc)[2..-1]
        if contains -- $token $__crechectl_verbs
            echo $token
            return
        end
    end
    return 1
end

function __crechectl_options # the options that a verb's help names
    crechectl (__crechectl_verb) --help 2>/dev/null | string match -ra '(?:^|[ ,])(--?[a-z][a-z-]*)' -g
end

function __crechectl_is # whether the verb is one of these
    contains -- (__crechectl_verb) $argv
end

complete -c crechectl -f
complete -c crechectl -s s -l socket -r -F -d "the daemon's socket"
complete -c crechectl -n 'not __crechectl_verb >/dev/null' -a "$__crechectl_verbs"
complete -c crechectl -n '__crechectl_verb >/dev/null; and string match -q -- "-*" (commandline -ct)' \
    -a '(__crechectl_options)'
complete -c crechectl -n '__crechectl_is status start stop restart signal pid tail clear' \
    -a 'all (__crechectl_words processes)'
complete -c crechectl -n '__crechectl_is update add remove' -a '(__crechectl_words groups)'
complete -c crechectl \
    -n '__crechectl_is logs rename rm kill pause unpause wait stats top attach exec inspect' \
    -a '(__crechectl_words containers)'
complete -c crechectl -n '__crechectl_is run create tag rmi inspect' -a '(__crechectl_words images)'
complete -c crechectl -n '__crechectl_is import load run create' -F

function __crechectl_after # whether the word before is one of these options
    contains -- (commandline -opc)[-1] $argv
end

set -g __crechectl_capabilities ALL CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP \
    LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER \
    SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE \
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP \
    MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
    CHECKPOINT_RESTORE

complete -c crechectl -n '__crechectl_after --cap-add --cap-drop' -a "$__crechectl_capabilities"
complete -c crechectl -n '__crechectl_after --security-opt' \
    -a 'no-new-privileges seccomp=unconfined seccomp=builtin seccomp= apparmor=unconfined apparmor= systempaths=unconfined label=disable'
complete -c crechectl -n '__crechectl_after --ulimit' \
    -a 'as= core= cpu= data= fsize= memlock= msgqueue= nice= nofile= nproc= rss= rtprio= rttime= sigpending= stack='
complete -c crechectl -n '__crechectl_after --pid' -a 'host container:'
complete -c crechectl -n '__crechectl_after --ipc' -a 'private shareable host none container:'
complete -c crechectl -n '__crechectl_after --uts --userns' -a host
complete -c crechectl -n '__crechectl_after --cgroupns' -a 'private host'
complete -c crechectl -n '__crechectl_after --device' -F
