# PostgreSQL 15 from Debian, server and client.
packages postgresql-15
version=$(installed postgresql-15)
path=/usr/lib/postgresql/15/bin:$path
stop_signal=SIGINT # ends the sessions; SIGTERM would wait for them
install -d -m 1777 "$root/run/postgresql"
