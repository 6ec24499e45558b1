import Kernel
import Testing
import TestSupport

/// A layer unpacked into a directory beside a file that no layer may touch.
private struct Unpacked {
  let directory: TestDirectory
  var root: String { "\(directory.path)/root" }
  let outside = "untouched"

  init() throws {
    directory = try TestDirectory()
    try Files.makeDirectories("\(directory.path)/root", mode: 0o755)
    try Files.makeDirectories("\(directory.path)/outside", mode: 0o755)
    try Files.writeAtomically("\(directory.path)/outside/victim", Array(outside.utf8), mode: 0o600)
  }

  @discardableResult
  func unpack(
    _ bytes: [UInt8], _ compression: ArchiveCompression = .none, limits: LayerLimits = LayerLimits(),
    skeleton: Bool = false,
    declared: Int? = nil
  ) async throws -> LayerUnpackResult {
    let path = "\(directory.path)/blob"
    try Files.writeAtomically(path, bytes)
    return try await LayerUnpack.run(
      .file(path: path, offset: 0), compression: compression, declaredBytes: Int64(declared ?? bytes.count), into: root,
      skeletonPath: skeleton ? "\(directory.path)/skeleton" : nil, limits: limits)
  }

  func remove() throws { try LayerUnpack.remove(directory.path) }
  func status(_ name: String) throws -> FileStatus? { try Files.status("\(root)/\(name)") }
  func text(_ name: String) throws -> String? { try Files.readText("\(root)/\(name)") }

  func isOutsideUntouched() throws -> Bool {
    let victim = "\(directory.path)/outside/victim"
    return try Files.readText(victim) == outside && Files.status(victim)?.mode == 0o600
      && Files.status(victim)?.links == 1
      && Directory(path: "\(directory.path)/outside").list().map(\.name) == ["victim"]
  }

  func xattr(_ name: String, _ path: String) async throws -> String? {
    let outcome = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: [
        "python3", "-c", "import os,sys;print(os.getxattr(sys.argv[1],sys.argv[2],follow_symlinks=False).hex())",
        "\(root)/\(path)", name,
      ])
    return outcome.status == .exited(0) ? String(decoding: outcome.output.dropLast(), as: UTF8.self) : nil
  }
}

@Suite struct LayerUnpackTests {
  @Test func keepsFilesDirectoriesLinksDevicesIdsModesAndTimes() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("./", .directory, mode: 0o750, modified: 1_600_000_001)
    tar.add("etc/", .directory, mode: 0o2755, owner: 7, group: 8, modified: 1_600_000_002)
    tar.add("etc/hosts", .file, Array("a host".utf8), mode: 0o4711, owner: 1000, group: 2000, modified: 1_600_000_003)
    tar.add("etc/link", .symlink, link: "/../../etc/passwd", owner: 5, modified: 1_600_000_004)
    tar.add("hard", .hardlink, link: "etc/hosts")
    tar.add("dev/null", .character, mode: 0o666, device: (1, 3))
    tar.add("dev/disk", .block, mode: 0o660, group: 6, device: (8, 1))
    tar.add("run/pipe", .fifo, mode: 0o622)
    tar.add(String(repeating: "long/", count: 60) + "end", .file, Array("far down".utf8))
    let result = try await it.unpack(tar.finished)
    #expect(result.contentDigest == SHA256Hasher.hash(tar.finished) && result.blobDigest == result.contentDigest)
    #expect(result.entries == 9)
    #expect(try it.status("")?.mode == 0o750)
    let etc = try #require(try it.status("etc"))
    #expect(
      etc.mode == 0o2755 && etc.owner == 7 && etc.group == 8 && etc.modifiedNanoseconds == 1_600_000_002_000_000_000)
    let hosts = try #require(try it.status("etc/hosts"))
    #expect(hosts.mode == 0o4711 && hosts.owner == 1000 && hosts.group == 2000 && hosts.links == 2)
    #expect(hosts.modifiedNanoseconds == 1_600_000_003_000_000_000)
    #expect(try it.status("hard")?.inode == hosts.inode)
    #expect(try Files.readLink("\(it.root)/etc/link") == "/../../etc/passwd")
    #expect(
      try it.status("etc/link")?.owner == 5 && it.status("etc/link")?.modifiedNanoseconds == 1_600_000_004_000_000_000)
    #expect(try it.status("dev/null")?.kind == .characterDevice && it.status("dev/null")?.representedDevice == 0x103)
    #expect(try it.status("dev/null")?.mode == 0o666)
    #expect(try it.status("dev/disk")?.kind == .blockDevice && it.status("dev/disk")?.group == 6)
    #expect(try it.status("run/pipe")?.kind == .fifo)
    #expect(try it.text(String(repeating: "long/", count: 60) + "end") == "far down")
    try it.remove()
  }

  @Test func aFileBelowASetGroupDirectoryKeepsItsOwnGroup() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("mail/", .directory, mode: 0o2775, group: 8)
    tar.add("mail/root", "letter")
    tar.add("mail/sub/", .directory, mode: 0o755)
    try await it.unpack(tar.finished)
    #expect(try it.status("mail/root")?.group == 0)
    #expect(try it.status("mail/sub")?.group == 0 && it.status("mail/sub")?.mode == 0o755)
    try it.remove()
  }

  @Test func keepsExtendedAttributesAndFileCapabilities() async throws {
    let it = try Unpacked()
    // VFS_CAP_REVISION_2, effective, cap_net_raw permitted.
    let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    var tar = TestTar()
    tar.add("ping", .file, [1], mode: 0o755, owner: 3, pax: [("SCHILY.xattr.security.capability", capability)])
    tar.add("dir", .directory, mode: 0o755, pax: [("SCHILY.xattr.trusted.mark", [0x41])])
    try await it.unpack(tar.finished)
    #expect(try await it.xattr("security.capability", "ping") == hexadecimal(capability))
    #expect(try await it.xattr("trusted.mark", "dir") == "41")
    try it.remove()
  }

  @Test(arguments: ["trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.opaque"])
  func refusesAttributesOfOverlayfsItself(_ name: String) async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("dir", .directory, pax: [("SCHILY.xattr.\(name)", [0x2F])])
    let error = await #expect(throws: ArchiveError.self) { try await it.unpack(tar.finished) }
    #expect(error?.code == .refused && error?.description.contains(name) == true)
    try it.remove()
  }

  @Test func namesThatAreNoTextKeepTheirBytes() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    let names: [[UInt8]] = [Array("e\u{301}".utf8), Array("\u{e9}".utf8), [0x72, 0xFF, 0xFE]]
    for name in names { tar.add("x", .file, [1], pax: [("path", name)]) }
    try await it.unpack(tar.finished)
    let listed = try await ChildProcess.run(
      "/bin/ls", arguments: ["ls", "-1", it.root], environment: ["LC_ALL=C", "QUOTING_STYLE=literal"])
    let found = Set(listed.output.split(separator: 0x0A).map { Array($0) })
    #expect(found.count == 3)
    #expect(found.contains(names[0]) && found.contains(names[1]))
    try it.remove()
  }

  @Test func aSparseFileKeepsItsHoles() async throws {
    let it = try Unpacked()
    let source = "\(it.directory.path)/source"
    try Files.makeDirectories(source)
    let script =
      "cd \(source) && truncate -s 64M big && printf end | dd of=big bs=1 seek=50000000 conv=notrunc status=none && tar --sparse -cf ../sparse.tar big"
    #expect(
      try await ChildProcess.run("/bin/sh", arguments: ["sh", "-c", script], environment: ["PATH=/usr/bin:/bin"]).status
        == .exited(0))
    try await it.unpack(try Files.read("\(it.directory.path)/sparse.tar", maxBytes: 1 << 24))
    let big = try #require(try it.status("big"))
    #expect(big.sizeBytes == 64 << 20 && big.blocks * 512 < 1 << 20)
    try it.remove()
  }

  @Test func whiteoutsBecomeThoseOfOverlayfs() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("etc/.wh.gone")
    tar.add("var/.wh..wh..opq")
    tar.add("var/new", "n")
    tar.add(".wh..wh.plnk", .directory)
    try await it.unpack(tar.finished)
    let gone = try #require(try it.status("etc/gone"))
    #expect(gone.kind == .characterDevice && gone.representedDevice == 0)
    #expect(try await it.xattr("trusted.overlay.opaque", "var") == "79")
    #expect(try Directory(path: it.root).list().map(\.name).sorted() == ["etc", "var"])
    try it.remove()
  }

  @Test func aWhiteoutHidesLowerLayersOnlyWhateverItsPlace() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("file", "kept")
    tar.add(".wh.file")
    tar.add("early/inside", "kept")
    tar.add(".wh.early")
    tar.add(".wh.late")
    tar.add("late", .directory, mode: 0o755)
    tar.add("late/inside", "kept")
    try await it.unpack(tar.finished)
    #expect(try it.text("file") == "kept" && it.text("early/inside") == "kept" && it.text("late/inside") == "kept")
    #expect(try await it.xattr("trusted.overlay.opaque", "early") == "79")
    #expect(try await it.xattr("trusted.overlay.opaque", "late") == "79")
    try it.remove()
  }

  @Test func aLaterEntryReplacesAnEarlierOne() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("a", "first")
    tar.add("a", "second")
    tar.add("d/x", "gone")
    tar.add("d", .symlink, link: "elsewhere")
    tar.add("s", .symlink, link: "/outside")
    tar.add("s/", .directory, mode: 0o755)
    tar.add("s/in", "kept")
    tar.add("k/in", "kept")
    tar.add("k/", .directory, mode: 0o711)
    try await it.unpack(tar.finished)
    #expect(try it.text("a") == "second")
    #expect(try Files.readLink("\(it.root)/d") == "elsewhere")
    #expect(try it.status("s")?.kind == .directory && it.text("s/in") == "kept")
    #expect(try it.status("k")?.mode == 0o711 && it.text("k/in") == "kept")
    try it.remove()
  }

  // MARK: Attacks

  private static let attacks: [(name: String, make: @Sendable (String) -> TestTar)] = [
    (
      "dot dot",
      { _ in
        var t = TestTar(); t.add("../outside/victim", "evil"); return t
      }
    ),
    (
      "dot dot inside",
      { _ in
        var t = TestTar(); t.add("a/../../outside/victim", "evil"); return t
      }
    ),
    (
      "dot dot in a long name",
      { _ in
        var t = TestTar();
        t.add(String(repeating: "a/", count: 80) + String(repeating: "../", count: 82) + "outside/victim", "evil");
        return t
      }
    ),
    (
      "directory dot dot",
      { _ in
        var t = TestTar(); t.add("../outside/", .directory, mode: 0o777); return t
      }
    ),
    (
      "whiteout of dot dot",
      { _ in
        var t = TestTar(); t.add("a/.wh..."); t.add(".wh..", "x"); return t
      }
    ),
    (
      "whiteout of nothing",
      { _ in
        var t = TestTar(); t.add("a/.wh."); return t
      }
    ),
    (
      "whiteout below dot dot",
      { _ in
        var t = TestTar(); t.add("../outside/.wh.victim"); return t
      }
    ),
    (
      "hard link out",
      { _ in
        var t = TestTar(); t.add("h", .hardlink, link: "../outside/victim"); return t
      }
    ),
    (
      "hard link to an absolute path",
      { path in
        var t = TestTar(); t.add("h", .hardlink, link: "\(path)/outside/victim"); return t
      }
    ),
    (
      "hard link through a symbolic link",
      { path in
        var t = TestTar(); t.add("s", .symlink, link: "\(path)/outside"); t.add("h", .hardlink, link: "s/victim");
        return t
      }
    ),
    (
      "file below an absolute symbolic link",
      { path in
        var t = TestTar(); t.add("s", .symlink, link: "\(path)/outside"); t.add("s/victim", "evil"); return t
      }
    ),
    (
      "file below a symbolic link with dot dot",
      { _ in
        var t = TestTar(); t.add("s", .symlink, link: "../outside"); t.add("s/victim", "evil"); return t
      }
    ),
    (
      "file below a magic link",
      { _ in
        var t = TestTar(); t.add("s", .symlink, link: "/proc/self/root"); t.add("s/tmp/x", "evil"); return t
      }
    ),
    (
      "file over a file",
      { _ in
        var t = TestTar(); t.add("f", "x"); t.add("f/below", "evil"); return t
      }
    ),
  ]

  @Test(arguments: attacks.map(\.name)) func refusesWhatLeadsOutAndTouchesNothing(_ name: String) async throws {
    let it = try Unpacked()
    let attack = try #require(Self.attacks.first { $0.name == name })
    let error = await #expect(throws: ArchiveError.self) {
      try await it.unpack(attack.make(it.directory.path).finished)
    }
    #expect(error?.code == .refused)
    #expect(error?.description.contains("entry") == true)
    #expect(try it.isOutsideUntouched())
    try it.remove()
  }

  private static let contained: [(name: String, make: @Sendable (String) -> TestTar, inside: String)] = [
    (
      "absolute path",
      { path in
        var t = TestTar(); t.add("/etc/passwd", "evil"); return t
      }, "etc/passwd"
    ),
    (
      "symbolic link then write",
      { _ in
        var t = TestTar(); t.add("s", .symlink, link: "../../../../inner"); t.add("inner/", .directory);
        t.add("s/f", "evil"); return t
      }, "inner/f"
    ),
    (
      "symbolic link as the last component",
      { path in
        var t = TestTar(); t.add("f", .symlink, link: "\(path)/outside/victim"); t.add("f", "evil"); return t
      }, "f"
    ),
    (
      "mode through a symbolic link",
      { path in
        var t = TestTar(); t.add("f", .symlink, link: "\(path)/outside/victim", mode: 0o777, owner: 99);
        t.add("g", .hardlink, link: "f", mode: 0o777, owner: 99); t.add("h", "x"); return t
      }, "h"
    ),
    (
      "directory over a symbolic link",
      { path in
        var t = TestTar(); t.add("d", .symlink, link: "\(path)/outside");
        t.add("d", .directory, mode: 0o777, owner: 99); t.add("d/f", "evil"); return t
      }, "d/f"
    ),
    (
      "whiteout of a symbolic link",
      { path in
        var t = TestTar(); t.add("s", .symlink, link: "\(path)/outside/victim"); t.add(".wh.s"); t.add("f", "x");
        return t
      }, "f"
    ),
    (
      "opaque marker below a symbolic link",
      { _ in
        var t = TestTar(); t.add("in/", .directory); t.add("s", .symlink, link: "/in"); t.add("s/.wh..wh..opq");
        t.add("s/f", "x"); return t
      }, "in/f"
    ),
    (
      "device over a symbolic link",
      { path in
        var t = TestTar(); t.add("s", .symlink, link: "\(path)/outside/victim");
        t.add("s", .character, mode: 0o777, device: (1, 3)); t.add("f", "x"); return t
      }, "f"
    ),
  ]

  @Test(arguments: contained.map(\.name)) func keepsInsideWhatPointsOut(_ name: String) async throws {
    let it = try Unpacked()
    let attack = try #require(Self.contained.first { $0.name == name })
    try await it.unpack(attack.make(it.directory.path).finished)
    #expect(try it.status(attack.inside)?.kind == .file)
    #expect(try it.isOutsideUntouched())
    try it.remove()
  }

  // MARK: Damage and bounds

  /// The same damage for the same number: splitmix64.
  private struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = state
      mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
      return mixed ^ mixed >> 31
    }
  }

  @Test(arguments: 0..<8) func damagedLayersNeverReachOutside(_ seed: Int) async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("d/", .directory, mode: 0o755)
    tar.add("d/f", .file, [UInt8](repeating: 5, count: 700), pax: [("SCHILY.xattr.trusted.x", [1, 2])])
    tar.add("s", .symlink, link: "\(it.directory.path)/outside")
    tar.add("d/h", .hardlink, link: "d/f")
    tar.add("d/.wh.gone")
    tar.add(String(repeating: "n/", count: 70) + "f", "deep")
    tar.add("s2", .symlink, link: "../outside/victim")
    let bytes = tar.finished
    var random = Seeded(state: UInt64(seed))
    for _ in 0..<40 {
      var damaged = bytes
      for _ in 0..<Int.random(in: 1...12, using: &random) {
        damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      }
      // Checksums are mended, or nearly every damage would end at the first header.
      TestTar.mendChecksums(&damaged)
      _ = try? await it.unpack(damaged)
      #expect(try it.isOutsideUntouched(), "seed \(seed)")
    }
    try it.remove()
  }

  @Test func aTruncatedLayerIsAnErrorThatSaysSo() async throws {
    var tar = TestTar()
    tar.add("big", .file, [UInt8](repeating: 7, count: 100_000))
    let it = try Unpacked()
    let cut = Array(tar.finished.prefix(50_000))
    let short = await #expect(throws: ArchiveError.self) { try await it.unpack(cut) }
    #expect(short?.code == .corrupt && short?.detail.contains("runcated") == true)
    let declared = await #expect(throws: ArchiveError.self) { try await it.unpack(cut, declared: tar.finished.count) }
    #expect(declared?.detail == "ends after 50000 of the \(tar.finished.count) bytes that were declared")
    let zipped = try await TestImage.gzip(tar.finished).blob
    let inside = await #expect(throws: ArchiveError.self) { try await it.unpack(Array(zipped.dropLast(20)), .gzip) }
    #expect(inside?.code == .corrupt)
    try it.remove()
  }

  @Test func aTarThatStopsRightAfterItsLastFileIsTakenButNotInTheMiddleOfIt() async throws {
    var tar = TestTar()
    tar.add("a", .file, [UInt8](repeating: 7, count: 700))
    let it = try Unpacked()
    let result = try await it.unpack(Array(tar.bytes.prefix(512 + 700)), skeleton: true)
    #expect(result.contentDigest == SHA256Hasher.hash(Array(tar.bytes.prefix(512 + 700))))
    #expect(try it.status("a")?.sizeBytes == 700 && result.hasSkeleton)
    let error = await #expect(throws: ArchiveError.self) { try await it.unpack(Array(tar.bytes.prefix(512 + 690))) }
    #expect(error?.code == .corrupt && error?.detail.contains("runcated") == true)
    try it.remove()
  }

  @Test func moreBytesThanDeclaredAreRefused() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("a", "b")
    let channel = ByteChannel()
    let bytes = tar.finished
    async let sent: Void = {
      try await channel.send(bytes)
      try await channel.send([1, 2, 3])
      channel.finish()
    }()
    let error = await #expect(throws: ArchiveError.self) {
      try await LayerUnpack.run(
        .channel(channel), compression: .none, declaredBytes: Int64(bytes.count), into: it.root, skeletonPath: nil)
    }
    #expect(error?.detail.contains("more than the \(bytes.count) bytes") == true)
    _ = try? await sent
    try it.remove()
  }

  @Test(arguments: [ArchiveCompression.none, .gzip, .zstd]) func rubbishIsRefused(_ compression: ArchiveCompression)
    async throws
  {
    let it = try Unpacked()
    let rubbish = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
    let error = await #expect(throws: ArchiveError.self) { try await it.unpack(rubbish, compression) }
    #expect(error?.code == .corrupt)
    try it.remove()
  }

  @Test func aBombIsStoppedByItsCaps() async throws {
    let it = try Unpacked()
    var limits = LayerLimits()
    limits.contentBytesMax = 1 << 20
    limits.entriesMax = 10
    var declared = TestTar()
    declared.add("huge", .file, [], declaredSize: 1 << 32)
    let size = await #expect(throws: ArchiveError.self) { try await it.unpack(declared.finished, limits: limits) }
    #expect(size?.code == .tooLarge && size?.detail.contains("declares 4294967296 bytes") == true)
    let zeros = try await TestImage.gzip([UInt8](repeating: 0, count: 4 << 20)).blob
    let bomb = await #expect(throws: ArchiveError.self) { try await it.unpack(zeros, .gzip, limits: limits) }
    #expect(bomb?.code == .tooLarge)
    var many = TestTar()
    for number in 0..<11 { many.add("\(number)") }
    let entries = await #expect(throws: ArchiveError.self) { try await it.unpack(many.finished, limits: limits) }
    #expect(entries?.detail == "has more than 10 entries")
    var attributes = TestTar()
    attributes.add("x", .file, [1], pax: (0..<200).map { ("SCHILY.xattr.trusted.a\($0)", [1]) })
    let xattrs = await #expect(throws: ArchiveError.self) { try await it.unpack(attributes.finished, limits: limits) }
    #expect(xattrs?.code == .tooLarge)
    try it.remove()
  }

  @Test func aFullDiskIsSaidWithWhatToDo() async throws {
    let it = try Unpacked()
    var limits = LayerLimits()
    limits.reservedBytes = .max
    var tar = TestTar()
    tar.add("a", "b")
    let error = await #expect(throws: ArchiveError.self) { try await it.unpack(tar.finished, limits: limits) }
    #expect(error?.code == .noSpace && error?.detail.contains("free some") == true)
    try it.remove()
  }

  @Test func concatenatedGzipMembersAndEmptyLayersAreLayers() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("a", .file, [UInt8](repeating: 3, count: 300_000))
    let bytes = tar.finished
    let halves = try await TestImage.gzip(Array(bytes[..<1000])).blob + TestImage.gzip(Array(bytes[1000...])).blob
    let result = try await it.unpack(halves, .gzip)
    #expect(result.contentDigest == SHA256Hasher.hash(bytes) && result.blobDigest == SHA256Hasher.hash(halves))
    #expect(try it.status("a")?.sizeBytes == 300_000)
    #expect(try await it.unpack([UInt8](repeating: 0, count: 1024)).entries == 0)
    #expect(try await it.unpack([]).entries == 0)
    try it.remove()
  }

  @Test func aLayerIsWrittenAgainByteForByteFromItsSkeleton() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("etc/", .directory, mode: 0o755)
    tar.add("etc/a", .file, (0..<700_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    tar.add("etc/empty")
    tar.add(String(repeating: "n", count: 180), .file, Array("long".utf8))
    tar.add("h", .hardlink, link: "etc/a")
    tar.add("x", .file, [9], mode: 0o4755, owner: 70000, pax: [("SCHILY.xattr.trusted.a", [1])])
    let bytes = tar.finished + [UInt8](repeating: 0, count: 9000)
    let result = try await it.unpack(bytes, skeleton: true)
    #expect(result.hasSkeleton)
    let output = "\(it.directory.path)/again"
    let file = SharedFD(try Files.open(output, flags: OpenFlags.writeOnly | OpenFlags.create, mode: 0o600))
    let hash = try await LayerPack.run(skeletonPath: "\(it.directory.path)/skeleton", directory: it.root) {
      try file.write($0, to: output)
    }
    #expect(hash == SHA256Hasher.hash(bytes))
    #expect(try Files.read(output) == bytes)
    try it.remove()
  }

  @Test func aLayerThatReplacesItsOwnFilesHasNoSkeleton() async throws {
    let it = try Unpacked()
    var tar = TestTar()
    tar.add("a", "first")
    tar.add("a", "second")
    #expect(try await it.unpack(tar.finished, skeleton: true).hasSkeleton == false)
    #expect(!Files.exists("\(it.directory.path)/skeleton"))
    try it.remove()
  }
}
