"""Texts that lead FFmpeg elsewhere, if it opens them as a playlist or a script."""

import struct
from pathlib import Path

from .world import World


def lists(world: World, folder: Path):
    """Playlists of every kind, to files and to addresses."""
    secret = world.elsewhere / "secret.ts"
    near = f"../../world/elsewhere/{secret.name}"
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:8\n{}#EXTINF:8,\n{}\n#EXT-X-ENDLIST\n"
    targets = {"path": secret, "file": f"file://{secret}", "near": near, "http": f"http://{world.url}/secret.ts"}
    targets |= {"tcp": f"tcp://{world.url}", "subfile": f"subfile,,start,0,end,0,,:{secret}"}
    targets |= {"nested": f"concat:{secret}|http://{world.url}/a.ts", "crypto": f"crypto:{secret}"}
    for name, target in targets.items():
        yield f"hls_{name}.mp4", hls.format("", target).encode()
        yield f"concat_{name}.mkv", f"ffconcat version 1.0\nfile '{target}'\n".encode()
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="http://{world.url}/key",IV=0x{0:032x}\n'
    yield "hls_key.mp4", hls.format(key, secret).encode()
    yield "hls_map.mp4", hls.format(f'#EXT-X-MAP:URI="file://{secret}"\n', secret).encode()
    yield "hls_master.mp4", f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{world.url}/a.m3u8\n".encode()
    yield "concat_options.mp4", f"ffconcat version 1.0\nfile '{secret}'\noption protocol_whitelist file\n".encode()
    yield "dash.mp4", _dash(f"http://{world.url}/secret.mp4")
    yield "dash_file.mp4", _dash(f"file://{secret}")
    yield (
        "session.mp4",
        f"v=0\nc=IN IP4 127.0.0.1\nm=video {world.listener.port} RTP/AVP 96\na=rtpmap:96 H264/90000\n".encode(),
    )
    yield "redirect.asf", f"[Reference]\r\nRef1=http://{world.url}/a.asf\r\n".encode()
    yield "redirect.wmv", f'<asx version="3.0"><entry><ref href="http://{world.url}/"/></entry></asx>'.encode()
    yield "redirect.rm", f"rtsp://{world.url}/a.rm\n".encode()
    yield (
        "smooth.mov",
        f'<SmoothStreamingMedia><StreamIndex Url="http://{world.url}/"/></SmoothStreamingMedia>'.encode(),
    )
    yield (
        "playlist.mp4",
        f'<playlist xmlns="http://xspf.org/ns/0/"><track><location>{secret}</location></track></playlist>'.encode(),
    )
    yield "svg.mp4", f'<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/></svg>'.encode()
    yield "entity.mp4", f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><MPD>&x;</MPD>'.encode()
    yield "avisynth.avi", f'DirectShowSource("{secret}")\n'.encode()
    yield "graph.mp4", f"movie={secret}\n".encode()
    yield "shortcut.mp4", f"[InternetShortcut]\nURL=http://{world.url}/\n".encode()
    yield "bluray.mp4", b"MPLS0200" + str(secret).encode()


def _dash(target: str) -> bytes:
    schema = "urn:mpeg:dash:schema:mpd:2011"
    start = f'<?xml version="1.0"?><MPD xmlns="{schema}" type="static" mediaPresentationDuration="PT8S">'
    adaptation = (
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{}</BaseURL>'
    )
    return (start + adaptation.format(target) + "</Representation></AdaptationSet></Period></MPD>").encode()


def references(world: World, folder: Path):
    """An MP4 whose samples lie in another file, by its own table of references."""
    target = str(world.elsewhere / "secret.mp4").encode()
    for name, entry in {"url": b"url \0\0\0\0" + target + b"\0", "urn": b"urn \0\0\0\0a\0" + target + b"\0"}.items():
        yield f"{name}.mp4", _with_reference(world.good(".mp4"), struct.pack(">I", 4 + len(entry)) + entry)
    alias = bytes(142) + struct.pack(">HH", 2, len(target)) + target + struct.pack(">Hh", 0, -1)
    entry = b"alis\0\0\0\0" + alias
    yield "alias.mov", _with_reference(world.good(".mov"), struct.pack(">I", 4 + len(entry)) + entry)


def _with_reference(data: bytes, entry: bytes) -> bytes:
    """Its index is at its end, so only the sizes of the boxes around change."""
    start = data.index(b"dref") - 4
    (size,) = struct.unpack_from(">I", data, start)
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    changed = bytearray(data[:start] + box + data[start + size :])
    for folder in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rindex(folder, 0, start) - 4
        struct.pack_into(">I", changed, place, struct.unpack_from(">I", data, place)[0] + len(box) - size)
    return bytes(changed)
