import ImageStore
import Kernel
import OCISpec
import TestSupport
import Testing

/// A store with one image of the given layers, lowest first.
private func stored(_ tars: [TestTar]) async throws -> (it: StoreFixture, image: ImageRecord) {
  let it = try await StoreFixture()
  let image = try await TestImage(layers: tars.map(\.finished))
  return (it, try await it.store.pull(reference, from: MemorySource(image).source))
}

private func tar(_ build: (inout TestTar) -> Void) -> TestTar {
  var tar = TestTar()
  build(&tar)
  return tar
}

extension ImageVolume {
  fileprivate var layers: [String] { if case .directory(let layers) = content { layers } else { [] } }
}

@Suite struct VolumeFillTests {
  private func filled(_ it: StoreFixture, _ image: ImageRecord, _ path: String) async throws -> String {
    let target = "\(it.directory.path)/volume"
    try Files.removeTree(target)
    try Files.makeDirectories(target, mode: 0o755)
    try await it.store.fill(target, from: image, at: path)
    return target
  }

  @Test func aVolumeStartsWithWhatAllLayersTogetherShowThere() async throws {
    let (it, image) = try await stored([
      tar { tar in
        tar.add("data", .directory, mode: 0o2750, owner: 1000, group: 1001)
        tar.add("data/kept", "low")
        tar.add("data/gone", "x")
        tar.add("data/changed", "low")
      },
      tar { tar in
        tar.add("data", .directory, mode: 0o2750, owner: 1000, group: 1001)
        tar.add("data/.wh.gone", "")
        tar.add("data/changed", .file, Array("high".utf8), mode: 0o4711, owner: 7, group: 8)
        tar.add(
          "data/capable", .file, Array("c".utf8), mode: 0o755,
          pax: [
            ("SCHILY.xattr.security.capability", [1, 0, 0, 2, 0, 4] + [UInt8](repeating: 0, count: 14)),
            ("SCHILY.xattr.user.mark", Array("m".utf8)),
          ])
        tar.add("data/hard", .hardlink, link: "data/capable")
        tar.add("data/sub", .directory, mode: 0o700, modified: 1_600_000_000)
        tar.add("data/sub/link", .symlink, link: "../../etc/passwd")
        tar.add("data/fifo", .fifo, mode: 0o622)
      },
    ])
    let target = try await filled(it, image, "/data")
    let list = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-c", "cd \(target) && find . -printf '%p %y %m %U:%G %n %l\\n' | sort"])
    #expect(
      String(decoding: list.output, as: UTF8.self) == """
        . d 2750 1000:1001 3 \n./capable f 755 0:0 2 \n./changed f 4711 7:8 1 \n./fifo p 622 0:0 1 \n./hard f 755 0:0 2 \n\
        ./kept f 644 0:0 1 \n./sub d 700 0:0 2 \n./sub/link l 777 0:0 1 ../../etc/passwd\n
        """)
    #expect(try Files.readText("\(target)/changed") == "high")
    #expect(try Files.status("\(target)/sub")?.modifiedNanoseconds == 1_600_000_000_000_000_000)
    let attributes = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: ["python3", "-c", "import os,sys; print(sorted(os.listxattr(sys.argv[1])))", "\(target)/hard"])
    #expect(String(decoding: attributes.output, as: UTF8.self) == "['security.capability', 'user.mark']\n")
    try await it.close()
  }

  @Test(arguments: ["/up", "/up/", "/abs", "/far/inner", "/../../../abs", "up"])
  func aPathThroughLinksLeadsNowhereButIntoTheImage(_ path: String) async throws {
    // A name of the host that must not be found: the store's own directory holds a file that no image has.
    let (it, image) = try await stored([
      tar { tar in
        tar.add("etc", .directory, mode: 0o755)
        tar.add("etc/of-image", "i")
        tar.add("etc/inner", .directory, mode: 0o755)
        tar.add("etc/inner/of-image", "i")
        tar.add("up", .symlink, link: "../../../../../../../../etc")
        tar.add("abs", .symlink, link: "/etc")
        tar.add("far", .symlink, link: "/proc/self/root/etc")
        tar.add("proc/self", .directory, mode: 0o755)
        tar.add("proc/self/root", .symlink, link: "/")
      }
    ])
    let target = try await filled(it, image, path)
    #expect(Files.exists("\(target)/of-image"))
    #expect(!Files.exists("\(target)/passwd") && !Files.exists("\(target)/hostname"))
    try await it.close()
  }

  @Test func aPathThatOnlyTheHostHasGivesAnEmptyVolume() async throws {
    let (it, image) = try await stored([
      tar { tar in
        tar.add("a", "1")
        tar.add("host", .symlink, link: it_path)
      }
    ])
    for path in ["/usr/bin", "/host", "/host/..", "/a/below"] {
      let target = try await filled(it, image, path)
      #expect(try Directory(path: target).list() == [])
    }
    try await it.close()
  }
  private let it_path = "/usr/bin"

  @Test func aVolumeOnAFileIsRefusedByItsName() async throws {
    let (it, image) = try await stored([tar { $0.add("file", "1") }])
    let error = await #expect(throws: ImageError.self) { _ = try await filled(it, image, "/file") }
    #expect(error?.code == .invalid && error?.stage == "fill volume \"/file\"")
    try await it.close()
  }
}

@Suite struct ImageVolumeTests {
  private let layers = [
    tar { tar in
      tar.add("low/a", "1")
      tar.add("low/sub/b", "1")
      tar.add("swapped/x", "1")
      tar.add("both/one", "1")
      tar.add("one-file", "text")
      tar.add("way", .symlink, link: "/both")
    },
    tar { tar in
      tar.add("low", .directory, mode: 0o755)
      tar.add("low/.wh..wh..opq", "")
      tar.add("low/sub/c", "2")
      tar.add("swapped", "now a file")
      tar.add("both/two", "2")
    },
  ]

  @Test(arguments: [
    ("", 2, "one-file"), ("both", 2, "one two"), ("way", 2, "one two"), ("low", 1, "sub"), ("low/sub", 1, "c"),
    ("./both/", 2, "one two"),
  ]) func aPartOfAnImageIsMadeOfThoseLayersThatShowIt(_ path: String, _ count: Int, _ names: String) async throws {
    let (it, image) = try await stored(layers)
    let volume = try await it.store.volume(image.id.description, subPath: path, for: "c1")
    #expect(volume.imageID == image.id)
    // One layer alone is stacked on an empty one.
    #expect(volume.layers.count == 2)
    #expect(volume.layers.filter { $0.contains("/layers/") }.count == count)
    let mount = volume.mount(at: "/volume")
    #expect(mount.type == "overlay" && mount.options.count == 3 + 2 && mount.options[0] == "ro")
    let seen = try await ChildProcess.run(
      "/usr/bin/unshare",
      arguments: [
        "unshare", "-m", "sh", "-c",
        "mkdir \(it.directory.path)/m && mount -t overlay overlay -o lowerdir=\(volume.layers.joined(separator: ":")) "
          + "\(it.directory.path)/m && ls \(it.directory.path)/m",
      ])
    let listed = String(decoding: seen.output, as: UTF8.self).split(separator: "\n").map(String.init)
    #expect(Set(names.split(separator: " ").map(String.init)).isSubset(of: listed))
    if !path.isEmpty { #expect(listed.count == names.split(separator: " ").count) }
    try await it.close()
  }

  @Test func aFileOfAnImageIsBoundFromTheTopmostLayerThatHasIt() async throws {
    let (it, image) = try await stored(layers)
    for (path, text) in [("one-file", "text"), ("swapped", "now a file")] {
      let volume = try await it.store.volume(image.id.description, subPath: path, for: "c1")
      guard case .file(let file) = volume.content else { Issue.record("\(volume)"); continue }
      #expect(try Files.readText(file) == text)
      #expect(volume.mount(at: "/f").type == "bind")
    }
    try await it.close()
  }

  @Test(arguments: ["../x", "/low", "low/../../x", "absent", "low/a/b", "low/a"])
  func aPathThatLeadsOutOrNowhereIsRefused(_ path: String) async throws {
    let (it, image) = try await stored(layers)
    let error = await #expect(throws: ImageError.self) {
      try await it.store.volume(image.id.description, subPath: path, for: "c1")
    }
    #expect(error?.code == (path.contains("..") || path.hasPrefix("/") ? .invalid : .notFound))
    try await it.close()
  }

  @Test func anImageInUseAsAVolumeIsKeptAlsoByALaterDaemon() async throws {
    let (it, image) = try await stored(layers)
    _ = try await it.store.volume(image.id.description, for: "c1")
    _ = try await it.store.volume(image.id.description, for: "c2")
    let error = await #expect(throws: ImageError.self) { try await it.store.remove(reference.description) }
    #expect(error?.code == .inUse && error?.detail.contains("c1, c2") == true)
    #expect(try await it.store.prune(all: true).images == [])
    await it.store.release(owner: "c2")
    // Another store takes the lock over: the first one is done.
    let second = ImageStore(root: it.directory.path, log: quiet)
    await it.store.shutdown()
    _ = await #expect(throws: ImageError.self) { try await second.start() }
    try await Self.restarted(it.directory.path, image.id)
    try await it.close()
  }

  /// The lock is of this process's open file: what a restart reads is looked at in a copy of the store.
  private static func restarted(_ path: String, _ image: Digest) async throws {
    let copy = "\(path)-copy"
    let run = try await ChildProcess.run("/bin/cp", arguments: ["cp", "-a", path, copy])
    try #require(run.status == .exited(0))
    let store = ImageStore(root: copy, log: quiet)
    _ = try await store.start()
    let error = await #expect(throws: ImageError.self) { try await store.remove(image.description) }
    #expect(error?.detail.contains("c1;") == true, "\(String(describing: error))")
    await store.releaseAll(but: ["c9"])
    #expect(try await store.remove(image.description)?.images == [image])
    await store.shutdown()
    try Files.removeTree(copy)
  }
}
