# Builds what the bed is made of: each thing once, in a folder of the cache that is named after its version and recipe.

packages=(containerd runc containernetworking-plugins debootstrap nftables conntrack iproute2 openssl zstd curl python3)

# made NAME KEY RECIPE...: prints the folder of a built thing. When it is not there, RECIPE makes it: it gets the folder
# to fill as its last argument, and the folder gets its name only when the recipe has succeeded.
made() {
  local name=$1 folder=$cache/$1-$2 log=$cache/logs/$1.log old; shift 2
  if [ ! -d "$folder" ]; then
    say "building $name (log: $log)"
    mkdir -p "$cache/logs" "$cache/tmp" "$folder.new"
    TMPDIR=$cache/tmp nice -n 5 "$@" "$folder.new" >"$log" 2>&1 </dev/null 9>&- || fail "building $name" "$log"
    for old in "$cache/$name"-[0-9a-fv]*; do if [ "$old" != "$folder.new" ]; then rm -rf "$old"; fi; done
    mv "$folder.new" "$folder"
    say "built $name, $(du -sm "$folder" | cut -f1) MB"
  fi
  echo "$folder"
}
key() { cat "$@" | sha256sum | cut -c1-12; }

# program NAME: the folder with a program that build/NAME.sh compiles from its Go module.
program() {
  local recipe=$here/build/$1.sh
  made "$1" "$(sed -n 's/^version=\([^ ]*\).*/\1/p' "$recipe")-$(cat "$recipe" "${recipe%.sh}"/* 2>/dev/null | key -)" bash "$recipe"
}

base() { made base "$(key "$here/image/base.sh" "$here/image/pack.sh")" bash "$here/image/base.sh"; }

# image STORAGE: the folder with the storage's image, a single layer above the base. A line "# needs: NAME" in its
# recipe asks for a program.
image() {
  local folder=$here/storages/$1 base needs programs=() files
  base=$(base)
  for needs in $(sed -n 's/^# needs: //p' "$folder/image.sh"); do programs+=("$(program "$needs")"); done
  mapfile -t files < <(find "$folder" -type f ! -name manifest.yaml ! -name secret ! -name started.sh ! -name unseal | sort)
  made "image-$1" "$({ echo "$base" "${programs[@]}"; cat "$here"/image/{image,pack}.sh "${files[@]}"; } | key -)" \
    unshare --mount bash "$here/image/image.sh" "$folder" "$base" "${programs[*]}"
}
pause() { made pause "$(key "$here/image/pause.sh" "$here/image/pack.sh")" bash "$here/image/pause.sh"; }

all_storages() { local folder; for folder in "$here"/storages/*/; do basename "$folder"; done; }

build() {
  local missing=() package name folder
  for package in "${packages[@]}"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  if [ ${#missing[@]} -gt 0 ]; then
    say "installing ${missing[*]}"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
      >"$cache/apt.log" 2>&1 9>&- || fail "apt-get install" "$cache/apt.log"
  fi
  # One Go cache for all programs while they are built: later ones share much with earlier ones. It goes afterwards.
  export GOCACHE=$cache/go/build GOMODCACHE=$cache/go/modules GOTOOLCHAIN=local CGO_ENABLED=0
  rm -rf "$cache/tmp" "$cache"/*.new
  mkdir -p "$binaries" "$tools"
  for name in hyperkube coredns helm krew minio; do
    folder=$(program $name)
    ln -sfn "$folder"/* "$binaries/"
  done
  ln -sfn "$binaries"/{kubectl,kubectl-krew,helm} "$tools/"
  folder=$(pause)
  for name in "${selected[@]}"; do folder=$(image "$name"); done
  rm -rf "$cache/go" "$cache/tmp"
}
