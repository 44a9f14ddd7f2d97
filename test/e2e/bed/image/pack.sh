# Sourced by the image recipes: a folder becomes a layer of an OCI image.

# pack ROOT OUT: writes OUT/layer.tar.zst and OUT/layer.json.
pack() {
  local root=$1 out=$2 deleted diff digest
  # What an overlay marks as deleted by a device 0:0, a layer marks by an empty file .wh.NAME.
  find "$root" -type c -print0 | while IFS= read -r -d '' deleted; do
    rm "$deleted"; : >"$(dirname "$deleted")/.wh.$(basename "$deleted")"
  done
  tar -C "$root" --numeric-owner --sort=name --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./tmp/*' -cf - . |
    zstd -q -T0 -6 -o "$out/layer.tar.zst"
  diff=$(zstd -dcq "$out/layer.tar.zst" | sha256sum | cut -d' ' -f1)
  digest=$(sha256sum "$out/layer.tar.zst" | cut -d' ' -f1)
  printf '{"diff": "sha256:%s", "digest": "sha256:%s"}\n' "$diff" "$digest" >"$out/layer.json"
}
# lighten ROOT: removes what no test reads.
lighten() {
  rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/usr/share/{doc,man,locale,info,lintian}/*
}
