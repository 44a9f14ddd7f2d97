# A MongoDB client for probes and tests, as mongosh is in no package registry that we may use: it runs the commands on its
# stdin (extended JSON, one a line) in the database that its argument names, and prints each answer as a line.
set -euo pipefail
version=1.17.1
out=$1
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat >main.go <<'G'
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/options"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	settings := options.Client().ApplyURI("mongodb://127.0.0.1:27017/").SetDirect(true).SetServerSelectionTimeout(3 * time.Second)
	if user := os.Getenv("MONGO_USER"); user != "" {
		settings.SetAuth(options.Credential{Username: user, Password: os.Getenv("MONGO_PASSWORD"), AuthSource: "admin"})
	}
	client, err := mongo.Connect(ctx, settings)
	check(err)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var command bson.D
		check(bson.UnmarshalExtJSON(lines.Bytes(), false, &command))
		var answer bson.Raw
		check(client.Database(os.Args[1]).RunCommand(ctx, command).Decode(&answer))
		text, err := bson.MarshalExtJSON(answer, false, false)
		check(err)
		fmt.Println(string(text))
	}
	check(lines.Err())
}
G
printf 'module mongocommand\n\ngo 1.22\n\nrequire go.mongodb.org/mongo-driver v%s\n' "$version" >go.mod
export GOFLAGS="-mod=mod -modcacherw"
go get ./...
go build -trimpath -ldflags '-s -w' -o "$out/mongo-command" .
