# Completion of crechectl for bash: source it, or copy it to
# /usr/share/bash-completion/completions/crechectl.

_crechectl_verbs="status start stop restart signal pid tail clear reread update avail add remove
ps logs inspect rename rm kill pause unpause wait stats top attach exec run create images load
import tag rmi events info doctor version shutdown"

_crechectl_capabilities="ALL CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME
SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"

_crechectl_values() { # what may follow an option; nothing if anything may
    case $1 in
        --cap-add | --cap-drop) echo "$_crechectl_capabilities" ;;
        --security-opt) echo "no-new-privileges seccomp=unconfined seccomp=builtin seccomp=
            apparmor=unconfined apparmor= systempaths=unconfined label=disable" ;;
        --ulimit) echo "as= core= cpu= data= fsize= memlock= msgqueue= nice= nofile= nproc=
            rss= rtprio= rttime= sigpending= stack=" ;;
        --pid) echo "host container:" ;;
        --ipc) echo "private shareable host none container:" ;;
        --uts | --userns) echo "host" ;;
        --cgroupns) echo "private host" ;;
    esac
}

_crechectl_words() { # the names of a kind, as the daemon has them
    crechectl "${_crechectl_socket[@]}" complete-words "$1" 2>/dev/null
}

_crechectl_options() { # the options that a verb's help names
    crechectl "$1" --help 2>/dev/null | grep -oE '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,'
}

_crechectl() {
    local current=$2 previous=$3 verb="" at
    _crechectl_socket=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            -s | --socket)
                at=$((at + 1))
                _crechectl_socket=(--socket "${COMP_WORDS[at]}")
                ;;
            -*) ;;
            *)
                verb=${COMP_WORDS[at]}
                break
                ;;
        esac
    done
    COMPREPLY=()
    case $previous in
        -s | --socket | -i | --input | --env-file | --device)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
    esac
    local words
    words=$(_crechectl_values "$previous")
    if [[ -n $words ]]; then
        :
    elif [[ -z $verb ]]; then
        words="$_crechectl_verbs --socket --help"
    elif [[ $current == -* ]]; then
        words=$(_crechectl_options "$verb")
    else
        case $verb in
            status | start | stop | restart | signal | pid | tail | clear)
                words="all $(_crechectl_words processes)"
                ;;
            update | add | remove) words=$(_crechectl_words groups) ;;
            logs | rename | rm | kill | pause | unpause | wait | stats | top | attach | exec)
                words=$(_crechectl_words containers)
                ;;
            inspect) words="$(_crechectl_words containers) $(_crechectl_words images)" ;;
            run | create | tag | rmi) words=$(_crechectl_words images) ;;
            import)
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        esac
    fi
    # bash takes the colon of group:name for the end of a word
    local head=""
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        head=${current%"${current##*:}"}
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    COMPREPLY=("${COMPREPLY[@]#"$head"}")
}

complete -F _crechectl crechectl
