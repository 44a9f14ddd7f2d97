#!/usr/bin/env python3
"""oci.py REFERENCE IMAGE [LAYER...]: an OCI archive for `ctr images import` on stdout.

IMAGE is a folder with layer.tar.zst, layer.json and config.json; each LAYER a folder with the first two, lowest first.
"""
import hashlib, io, json, os, sys, tarfile

reference, image, *below = sys.argv[1:]
layers = []
for folder in [*below, image]:
    with open(f"{folder}/layer.json") as file:
        layers.append((f"{folder}/layer.tar.zst", json.load(file)))
with open(f"{image}/config.json") as file:
    config = json.load(file)

archive = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")


def add(name, data):
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def blob(content, media_type):
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    add(f"blobs/sha256/{digest}", data)
    return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}


add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
described = blob({"architecture": "amd64", "os": "linux", "config": config,
                  "rootfs": {"type": "layers", "diff_ids": [layer["diff"] for _, layer in layers]}}, "config.v1+json")
manifest = blob({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": described,
                 "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": layer["digest"],
                             "size": os.path.getsize(path)} for path, layer in layers]}, "manifest.v1+json")
add("index.json", json.dumps({"schemaVersion": 2, "manifests": [
    {**manifest, "platform": {"architecture": "amd64", "os": "linux"},
     "annotations": {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}}]}).encode())
for path, layer in layers:
    entry = tarfile.TarInfo("blobs/sha256/" + layer["digest"].removeprefix("sha256:"))
    entry.size = os.path.getsize(path)
    with open(path, "rb") as file:
        archive.addfile(entry, file)
archive.close()
