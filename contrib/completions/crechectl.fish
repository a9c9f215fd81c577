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
