# A throw-away PostgreSQL server, for the scripts that source this. They define `say LINE` and `die LINE..`, call
# `start_postgres SETTINGS`, and `remove_postgres` when they end; between the two they may stop and resume it.

OLDEST_MAJOR=13

work_dir=''
bin_dir=''
server_user=''
server_started=false
postgres_url=''

# Whatever happened, the server goes away and so does its directory.
remove_postgres() {
    [ -n "$work_dir" ] || return 0
    if [ -e "$work_dir/data/postmaster.pid" ]; then
        as_server "$bin_dir/pg_ctl" --pgdata="$work_dir/data" --mode=immediate --silent stop >/dev/null 2>&1 || true
    fi
    rm -rf "$work_dir"
}

# ---------------------------------------------------------------------------------------------------------------------
# Finding PostgreSQL.

# Prints the directory that really holds the server's programs, if the given one has them and they are new enough.
usable_bin_dir() {
    local program dir major
    # The server finds its own files beside where it really is, so links are followed where the system can.
    program=$(readlink -f "$1/postgres" 2>/dev/null) || program="$1/postgres"
    dir=$(dirname "$program")
    for program in postgres initdb pg_ctl; do
        [ -x "$dir/$program" ] || return 1
    done
    major=$("$dir/postgres" --version 2>/dev/null | sed -nE 's/^[^0-9]*([0-9]+).*/\1/p') || return 1
    [ -n "$major" ] && [ "$major" -ge "$OLDEST_MAJOR" ] || return 1
    printf '%s\n' "$dir"
}

find_bin_dir() {
    local dir
    {
        tr ':' '\n' <<<"$PATH"
        if command -v pg_config >/dev/null 2>&1; then pg_config --bindir 2>/dev/null || true; fi
        # The newest version first.
        printf '%s\n' /usr/lib/postgresql/*/bin /usr/lib/postgresql*/bin /usr/libexec/postgresql*/bin \
            /usr/pgsql-*/bin /usr/local/pgsql/bin \
            /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
            /home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
            /Applications/Postgres.app/Contents/Versions/latest/bin | sort -rV
    } | while IFS= read -r dir; do
        if [ -d "$dir" ] && usable_bin_dir "$dir"; then break; fi
    done || true
}

# Runs a command as root if that needs no password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; }
}

install_postgres() {
    may_install || return 1
    if command -v apt-get >/dev/null 2>&1; then
        say 'PostgreSQL is not here; installing it with apt-get'
        # The first attempt fails where package lists were never fetched, as in a bare container.
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2 ||
            { as_root apt-get update -qq >&2 &&
                as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2; }
    elif command -v dnf >/dev/null 2>&1; then
        say 'PostgreSQL is not here; installing it with dnf'
        as_root dnf install -y -q postgresql-server >&2
    elif command -v apk >/dev/null 2>&1; then
        say 'PostgreSQL is not here; installing it with apk'
        as_root apk add --quiet postgresql >&2
    elif command -v pacman >/dev/null 2>&1; then
        say 'PostgreSQL is not here; installing it with pacman'
        as_root pacman -Sy --noconfirm --needed postgresql >&2
    else
        return 1
    fi
}

# ---------------------------------------------------------------------------------------------------------------------
# PostgreSQL refuses to run as root.

# Runs a command as the user that the server belongs to.
as_server() {
    if [ -z "$server_user" ]; then
        "$@"
    elif [ "${switch:=$(find_switch)}" = setpriv ]; then
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups -- "$@"
    elif [ "$switch" = runuser ]; then
        runuser -u "$server_user" -- "$@"
    elif [ "$switch" = sudo ]; then
        sudo -n -u "$server_user" -- "$@"
    else
        su -s /bin/sh "$server_user" -c "$(printf '%q ' "$@")"
    fi
}

find_switch() {
    if setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups -- true 2>/dev/null; then
        echo setpriv
    elif runuser -u "$server_user" -- true 2>/dev/null; then
        echo runuser
    elif sudo -n -u "$server_user" -- true 2>/dev/null; then
        echo sudo
    else
        echo su
    fi
}

choose_server_user() {
    [ "$(id -u)" -eq 0 ] || return 0
    local user
    for user in postgres nobody; do
        if id -u "$user" >/dev/null 2>&1 && [ "$(id -u "$user")" -ne 0 ]; then
            server_user=$user
            return 0
        fi
    done
    die 'PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody to run it as' \
        "create one (useradd --system postgres) or run $0 as an ordinary user"
}

# ---------------------------------------------------------------------------------------------------------------------
# Starting it.

# Starts a server of its own with the settings given, one a line, and sets postgres_url.
start_postgres() {
    local settings=$1
    bin_dir=$(find_bin_dir)
    if [ -z "$bin_dir" ]; then
        install_postgres || say 'PostgreSQL could not be installed'
        bin_dir=$(find_bin_dir)
    fi
    [ -n "$bin_dir" ] || die "PostgreSQL $OLDEST_MAJOR or newer was not found, and this needs it" \
        'Debian, Ubuntu:  sudo apt-get install postgresql' \
        'Fedora, RHEL:    sudo dnf install postgresql-server' \
        'Alpine:          sudo apk add postgresql' \
        'Arch:            sudo pacman -S postgresql' \
        'macOS:           brew install postgresql' \
        'or point at a server whose role may create databases and schemas:' \
        "                 CALLOPS_TEST_POSTGRES_URL=postgres://user:password@host/postgres $0"
    choose_server_user

    # The path of a unix socket may hold about 100 characters, and the server's user must be able to get there, so a
    # long or private TMPDIR will not do.
    local base=${TMPDIR:-/tmp}
    if [ "${#base}" -gt 60 ] || ! as_server test -x "$base"; then base=/tmp; fi
    work_dir=$(mktemp -d "${base%/}/callops-postgres.XXXXXX")
    # Only the server's user (and root) gets in, which is what protects a server that asks for no password.
    chmod 700 "$work_dir"
    if [ -n "$server_user" ]; then chown "$server_user" "$work_dir"; fi

    say "starting $("$bin_dir/postgres" --version) in $work_dir${server_user:+ as $server_user}"
    # From here on commands run in the work directory: the server's user may not be allowed into the current one.
    (
        cd "$work_dir"
        export LC_ALL=C
        as_server "$bin_dir/initdb" --pgdata="$work_dir/data" --username=postgres --auth=trust --encoding=UTF8 \
            --no-locale --no-sync >"$work_dir/initdb.log" 2>&1 ||
            { cat "$work_dir/initdb.log" >&2 && die 'initdb failed'; }
        as_server sh -c 'cat >>"$1"' sh "$work_dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$work_dir'
timezone = 'UTC'
$settings
CONF
        resume_postgres || die 'PostgreSQL did not start'
    )
    server_started=true
    postgres_url="postgres://postgres@localhost/postgres?host=$work_dir"
}

# Starts the server on the data that are there.
resume_postgres() (
    cd "$work_dir"
    # What the server inherits it keeps: it must not hold its caller's pipes open.
    as_server "$bin_dir/pg_ctl" --pgdata="$work_dir/data" --log="$work_dir/server.log" --wait --timeout=60 --silent \
        start >/dev/null || { as_server cat "$work_dir/server.log" >&2 && exit 1; }
)

# Stops the server in the given mode; what is in its directory stays.
stop_postgres() (
    cd "$work_dir"
    as_server "$bin_dir/pg_ctl" --pgdata="$work_dir/data" --mode="$1" --wait --timeout=60 --silent stop >/dev/null
)

server_is_up() {
    (cd "$work_dir" && as_server "$bin_dir/pg_ctl" --pgdata="$work_dir/data" --silent status >/dev/null 2>&1)
}
