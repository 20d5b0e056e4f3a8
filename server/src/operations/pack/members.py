"""Lists the members of a tar or zip file, as an independent reader sees them: JSON by name."""

import hashlib, json, stat, sys, tarfile, zipfile

KINDS = {
    tarfile.DIRTYPE: "d", tarfile.REGTYPE: "f", tarfile.AREGTYPE: "f", tarfile.SYMTYPE: "l",
    tarfile.LNKTYPE: "h", tarfile.CHRTYPE: "c", tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p",
}


def digest(file):
    sum = hashlib.sha256()
    while piece := file.read(1 << 20):
        sum.update(piece)
    return sum.hexdigest()


def name(text):
    return text.encode("utf-8", "surrogateescape").hex()


def tar(path, prefix):
    members = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if not (member.name + "/").startswith(prefix):
                continue
            kind = KINDS[member.type]
            item = {"kind": kind}
            if kind == "h":
                item["target"] = name(member.linkname.removeprefix(prefix))
            else:
                item |= {"mode": member.mode, "uid": member.uid, "gid": member.gid}
                mtime = member.pax_headers.get("mtime", str(int(member.mtime)))
                item["mtime"] = mtime.rstrip("0").rstrip(".") if "." in mtime else mtime
                item["xattrs"] = {
                    key: value.encode("utf-8", "surrogateescape").hex()
                    for key, value in member.pax_headers.items()
                    if key.startswith("SCHILY.xattr.") and "posix_acl" not in key
                }
            if kind == "l":
                item["target"] = name(member.linkname)
            if kind in "bc":
                item["device"] = [member.devmajor, member.devminor]
            if kind == "f":
                item["sha256"] = digest(archive.extractfile(member))
            key = name((member.name + "/").removeprefix(prefix).rstrip("/"))
            assert key not in members, member.name
            members[key] = item
    return members


def zip(path):
    members = {}
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            mode = member.external_attr >> 16
            encoding = "utf-8" if member.flag_bits & 0x800 or member.filename.isascii() else "cp437"
            key = member.filename.encode(encoding).rstrip(b"/").hex()
            item = {"kind": "d" if member.is_dir() else "l" if stat.S_ISLNK(mode) else "f"}
            item["mode"] = stat.S_IMODE(mode)
            # The extended timestamp: flags, then seconds.
            extra, times = member.extra, None
            while len(extra) >= 4:
                id, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
                if id == 0x5455:
                    times = int.from_bytes(extra[5:9], "little")
                extra = extra[4 + size:]
            item["mtime"] = times
            if item["kind"] != "d":
                with archive.open(member) as file:
                    item["sha256"] = digest(file)
            assert key not in members, member.filename
            members[key] = item
    return members


kind, path, *prefix = sys.argv[1:]
print(json.dumps(zip(path) if kind == "zip" else tar(path, prefix[0] if prefix else "")))
