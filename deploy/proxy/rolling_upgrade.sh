#!/bin/sh
# Restarts the service's processes one after the other, so that requests through the proxy go on.
#
#   rolling_upgrade.sh 8001 8002
#
# Each is told to stop (it drains, finishes and ends), started again with the code and settings that
# are installed now, and waited for until it is ready and the proxy has had time to notice. If one
# does not become ready, the script stops there: the others still run what they ran before.
#
# RESTART     how to restart the process of {port}, and wait until the old one has ended;
#             default: systemctl restart crossfix@{port}
# HOST        where the processes listen; default 127.0.0.1
# PATIENCE_S  how long one may take to become ready; default 900. Under systemd (no RESTART) one
#             that ends instead is noticed at once
# SETTLE_S    time for the proxy to notice; longer than its checks (inter x rise); default 5
set -eu

restart=${RESTART:-systemctl restart crossfix@\{port\}}
host=${HOST:-127.0.0.1}
patience_s=${PATIENCE_S:-900}
settle_s=${SETTLE_S:-5}

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$1"; }
fail() { printf 'rolling_upgrade.sh: %s\n' "$1" >&2; exit 1; }
ended() {  # by itself: systemd has given up on it, or is about to start it again
    [ -z "${RESTART:-}" ] || return 1
    case $(systemctl show --property SubState --value "crossfix@$1") in
        failed | auto-restart) return 0 ;;
    esac
    return 1
}
ready() { curl -fsS --max-time 5 "http://$host:$1/readyz" 2>/dev/null; }

[ $# -ge 2 ] || fail "name the ports of two processes or more; with one, nobody answers meanwhile"
for port in "$@"; do
    ready "$port" >/dev/null || fail "port $port is not ready; mend that first, nothing was restarted"
done
for port in "$@"; do
    say "$port: restarting"
    sh -c "$(printf '%s' "$restart" | sed "s/{port}/$port/g")" ||
        fail "port $port could not be restarted; those after it run what they ran before"
    begun=$(date +%s)
    until answer=$(ready "$port"); do
        ! ended "$port" ||
            fail "port $port does not start; see journalctl -u crossfix@$port. Those after it run what they ran before"
        [ $(($(date +%s) - begun)) -lt "$patience_s" ] ||
            fail "port $port is not ready after $patience_s s; see its log. Those after it run what they ran before"
        sleep 0.2
    done
    say "$port: $answer"
    sleep "$settle_s"
done
say "all restarted"
