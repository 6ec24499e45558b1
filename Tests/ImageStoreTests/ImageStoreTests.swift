import ImageStore
import JSON
import Kernel
import OCISpec
import Synchronization
import TestSupport
import Testing

private func tar(_ files: [(String, String)]) -> [UInt8] {
  var tar = TestTar()
  for (name, text) in files { tar.add(name, text) }
  return tar.finished
}

private func sampleImage(_ mark: String = "1") async throws -> TestImage {
  var number = 0
  return try await TestImage(layers: [
    tar([("base", "b"), ("gone", "g")]), tar([("mark", mark)]), tar([(".wh.gone", "")]),
  ]) {
    number += 1
    return switch number {
    case 1: try await TestImage.gzip($0)
    case 2: try await TestImage.zstd($0)
    default: ($0, "")
    }
  }
}

@Suite struct ImageStoreTests {
  @Test func aPulledImageHasItsLayersTopFirstAndNothingElseIsLeft() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let events = Mutex<[ImageProgress]>([])
    let record = try await it.store.pull(reference, from: MemorySource(image).source) { event in
      events.withLock { $0.append(event) }
    }
    #expect(record.id == image.id)
    #expect(record.repoTags == ["example.test/app:1"])
    #expect(record.repoDigests == ["example.test/app@\(digest(image.manifest))"])
    #expect(record.config.command == ["/bin/true"])
    #expect(record.sizeBytes == 3)
    #expect(record.layerDirectories.count == 3)
    #expect(Files.exists("\(record.layerDirectories[2])/base"))
    #expect(try Files.readText("\(record.layerDirectories[1])/mark") == "1")
    #expect(try Files.status("\(record.layerDirectories[0])/gone")?.kind == .characterDevice)
    #expect(try it.contents().count == 1 + 2 + 3 + 3 + 3)
    let seen = events.withLock { $0 }
    guard case .resolved(image.id, _, let layers) = seen.first else { Issue.record("first event \(seen)"); return }
    #expect(layers.map(\.digest) == image.layerDigests)
    #expect(seen.last == .done(image: image.id))
    #expect(seen.filter { if case .layerDone = $0 { true } else { false } }.count == 3)
    #expect(try Files.status(it.directory.path + "/images")?.mode == 0o700)
    #expect(try Files.status(it.directory.path + "/layers")?.mode == 0o700)
    try await it.close()
  }

  @Test func tenPullsOfOneImageFetchEachBlobOnce() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let source = MemorySource(image)
    source.configure { $0.gate = { try await Task.sleep(for: .milliseconds(50)) } }
    let records = try await withThrowingTaskGroup(of: ImageRecord.self) { group in
      for number in 0..<10 {
        group.addTask { try await it.store.pull(try ImageReference("example.test/app:\(number)"), from: source.source) }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(Set(records.map(\.id)) == [image.id])
    for layer in image.layerDigests { #expect(source.fetches(layer) == 1) }
    #expect(await it.store.image("example.test/app:7")?.repoTags.count == 10)
    try await it.close()
  }

  @Test func imagesShareTheLayersThatTheyHaveInCommon() async throws {
    let it = try await StoreFixture()
    let (one, two) = (try await sampleImage("1"), try await sampleImage("2"))
    let (first, second) = (MemorySource(one), MemorySource(two))
    let a = try await it.store.pull(try ImageReference("a.test/a"), from: first.source)
    let b = try await it.store.pull(try ImageReference("b.test/b"), from: second.source)
    #expect(a.layerDirectories[0] == b.layerDirectories[0] && a.layerDirectories[2] == b.layerDirectories[2])
    #expect(a.layerDirectories[1] != b.layerDirectories[1])
    #expect(second.fetches(two.layerDigests[0]) == 0)
    let removal = try #require(try await it.store.remove("a.test/a"))
    #expect(removal.layers.count == 1 && removal.images == [one.id])
    #expect(Files.exists("\(b.layerDirectories[2])/base") && !Files.exists(a.layerDirectories[1]))
    try await it.close()
  }

  @Test func aLayerThatComesTwiceIsStackedOnceWhereItIsOnTop() async throws {
    let it = try await StoreFixture()
    let (same, other) = (tar([("a", "1")]), tar([("a", "2")]))
    let record = try await it.store.pull(
      reference, from: MemorySource(try await TestImage(layers: [same, other, same])).source)
    #expect(record.layerDirectories.map { Files.name(of: $0) } == [digest(same).hex, digest(other).hex])
    try await it.close()
  }

  // MARK: What goes wrong

  enum Fault: String, CaseIterable, Sendable {
    case brokenLine, wrongBytes, tooShort, tooLong, wrongDiffID, wrongConfig, wrongPlatform, escape, notTar,
      wrongManifest
  }

  @Test(arguments: Fault.allCases) func aPullThatFailsSaysWhereAndLeavesNothing(_ fault: Fault) async throws {
    let it = try await StoreFixture()
    var image = try await sampleImage()
    if fault == .escape { image = try await TestImage(layers: [tar([("a", "1")]), tar([("../evil", "x")])]) }
    if fault == .notTar { image = try await TestImage(layers: [Array("no tar at all, but some words".utf8)]) }
    if fault == .wrongPlatform { image = try await TestImage(layers: [tar([("a", "1")])], architecture: "riscv64") }
    if fault == .wrongDiffID {
      let good = try await TestImage(layers: [tar([("a", "1")])])
      let config = String(decoding: good.config, as: UTF8.self).replacing(
        digest(tar([("a", "1")])).hex, with: String(repeating: "0", count: 64))
      image.config = Array(config.utf8)
      image.manifest = ImageManifest(
        config: Descriptor(
          mediaType: MediaType.ociConfig, digest: digest(image.config), size: Int64(config.utf8.count)),
        layers: [
          Descriptor(mediaType: MediaType.ociLayer, digest: good.layerDigests[0], size: Int64(tar([("a", "1")]).count))
        ]
      ).json.encoded()
      image.manifestDescriptor = Descriptor(
        mediaType: MediaType.ociManifest, digest: digest(image.manifest), size: Int64(image.manifest.count))
      image.blobs = good.blobs
      image.blobs[digest(image.config)] = image.config
    }
    if fault == .wrongManifest { image.manifest[10] ^= 1 }
    let source = MemorySource(image)
    let layer = image.layerDigests[0]
    let blob = image.blobs[layer] ?? []
    var (stage, words, code) = ("unpack layer", "", ImageError.Code.corrupt)
    switch fault {
    case .brokenLine:
      source.configure { $0.failAfterBytes = 0 }
      (words, code) = ("the line went dead", .unavailable)
    case .wrongBytes:
      // Another gzip header byte: the same content, other bytes.
      source.configure { $0.instead[layer] = blob.enumerated().map { $0 == 9 ? $1 ^ 0xFF : $1 } }
      (stage, words) = ("verify layer", "its bytes have digest")
    case .tooShort:
      source.configure { $0.instead[layer] = blob.dropLast(9) }
      words = "of the \(blob.count) bytes that were declared"
    case .tooLong:
      source.configure { $0.instead[layer] = blob + [0] }
      words = "more than the \(blob.count) bytes"
    case .wrongDiffID: (stage, words) = ("verify layer", "the configuration says sha256:0000")
    case .wrongConfig:
      source.configure { $0.instead[image.id] = image.config.map { $0 == 0x74 ? 0x54 : $0 } }
      (stage, words) = ("verify configuration", "came as sha256:")
    case .wrongPlatform:
      (stage, words, code) = ("choose platform", "is for linux/riscv64, not for linux/", .unsupported)
    case .escape: (words, code) = ("\"../evil\": its path has \"..\"", .invalid)
    case .notTar: words = "tar:"
    case .wrongManifest: (stage, words) = ("verify manifest", "came as sha256:")
    }
    let error = await #expect(throws: ImageError.self) { try await it.store.pull(reference, from: source.source) }
    #expect(error?.stage.hasPrefix(stage) == true, "\(String(describing: error))")
    #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    #expect(error?.code == code)
    #expect(try it.contents() == [])
    #expect(await it.store.images().isEmpty)
    try await it.close()
  }

  @Test func aFailedPullKeepsNoBlobsEither() async throws {
    let it = try await StoreFixture(options: ImageStoreOptions(keepBlobs: true))
    let image = try await TestImage(layers: [tar([("a", "1")]), tar([("../evil", "x")])])
    await #expect(throws: ImageError.self) { try await it.store.pull(reference, from: MemorySource(image).source) }
    #expect(try it.contents() == [])
    try await it.close()
  }

  @Test func aFullDiskLeavesNothingAndSaysWhatToDo() async throws {
    let directory = try TestDirectory()
    let small = "\(directory.path)/small"
    try Files.makeDirectories(small)
    let mounted = try await ChildProcess.run(
      "/usr/bin/mount", arguments: ["mount", "-t", "tmpfs", "-o", "size=68M", "mt-small", small])
    #expect(mounted.status == .exited(0))
    let inner = small
    let store = ImageStore(root: inner, log: quiet)
    _ = try await store.start()
    var big = TestTar()
    big.add("big", .file, [UInt8](repeating: 1, count: 80 << 20))
    let image = try await TestImage(layers: [big.finished], compress: TestImage.gzip)
    let error = await #expect(throws: ImageError.self) {
      try await store.pull(reference, from: MemorySource(image).source)
    }
    #expect(error?.code == .exhausted && error?.detail.contains("free") == true, "\(String(describing: error))")
    #expect(try Directory(path: "\(small)/layers").list().isEmpty)
    #expect(try Directory(path: "\(small)/images/blobs").list().isEmpty)
    await store.shutdown()
    _ = try await ChildProcess.run("/usr/bin/umount", arguments: ["umount", "-l", small])
    try directory.remove()
  }

  @Test func aCancelledPullLeavesNothing() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let source = MemorySource(image)
    source.configure { $0.gate = { try await Task.sleep(for: .seconds(60)) } }
    let pull = Task { try await it.store.pull(reference, from: source.source) }
    while source.fetches(image.layerDigests[0]) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    pull.cancel()
    let result = await pull.result
    #expect(throws: ImageError.self) { try result.get() }
    #expect(try it.contents() == [])
    try await it.close()
  }

  @Test func aWaiterTakesOverWhenTheFetchItSharedIsCancelled() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let (slow, quick) = (MemorySource(image), MemorySource(image))
    slow.configure { $0.gate = { try await Task.sleep(for: .seconds(60)) } }
    let first = Task { try await it.store.pull(reference, from: slow.source) }
    while slow.fetches(image.layerDigests[0]) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    let second = Task { try await it.store.pull(reference, from: quick.source) }
    while quick.state.withLock({ $0.resolves }) == 0 { try await Task.sleep(for: .milliseconds(5)) }
    try await Task.sleep(for: .milliseconds(50))
    first.cancel()
    #expect(try await second.value.id == image.id)
    try await it.close()
  }

  // MARK: Restart

  @Test func aRestartFindsEveryImageAndClearsWhatWasHalfMade() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let before = try await it.store.pull(reference, from: MemorySource(image).source)
    await it.store.shutdown()
    try Files.makeDirectories("\(it.directory.path)/layers/.tmp-0123/etc")
    try Files.makeDirectories("\(it.directory.path)/layers/\(String(repeating: "a", count: 64))")
    try Files.writeAtomically("\(it.directory.path)/images/blobs/.tmp-77", [1])
    let contents = try it.contents().filter { !$0.contains(".tmp") && !$0.hasSuffix("aaaa") }
    let again = ImageStore(root: it.directory.path, log: quiet)
    await #expect(throws: ImageError.self, "the first store still holds the lock") { try await again.start() }
    let copy = try await ChildProcess.run(
      "/bin/cp", arguments: ["cp", "-a", it.directory.path, it.directory.path + "-copy"])
    #expect(copy.status == .exited(0))
    let moved = ImageStore(root: it.directory.path + "-copy", log: quiet)
    #expect(try await moved.start() == [])
    let after = try #require(await moved.image(reference.description))
    #expect(
      after.id == before.id
        && after.layerDirectories.map(Files.name(of:)) == before.layerDirectories.map(Files.name(of:)))
    #expect(try StoreFixture.contents(it.directory.path + "-copy") == contents)
    try LayerUnpack.remove(it.directory.path + "-copy")
    try await it.close()
  }

  @Test(arguments: ["records", "config", "manifest", "layer"]) func aBadRecordIsSetAsideAndTheRestGoesOn(_ what: String)
    async throws
  {
    let it = try await StoreFixture()
    let (one, two) = (try await sampleImage("1"), try await sampleImage("2"))
    _ = try await it.store.pull(try ImageReference("a.test/a"), from: MemorySource(one).source)
    let good = try await it.store.pull(try ImageReference("b.test/b"), from: MemorySource(two).source)
    await it.store.shutdown()
    let copy = it.directory.path + "-copy"
    _ = try await ChildProcess.run("/bin/cp", arguments: ["cp", "-a", it.directory.path, copy])
    switch what {
    case "records":
      try Files.writeAtomically("\(copy)/images/records/\(one.id.hex).json", Array("{\"version\":9}".utf8))
    case "config": try Files.writeAtomically("\(copy)/images/blobs/\(one.id.hex)", [])
    case "manifest": try Files.writeAtomically("\(copy)/images/blobs/\(digest(one.manifest).hex)", [])
    default: try LayerUnpack.remove("\(copy)/layers/\(digest(tar([("mark", "1")])).hex)")
    }
    let store = ImageStore(root: copy, log: quiet)
    let problems = try await store.start()
    #expect(problems.count == 1 && problems[0].path.contains(one.id.hex), "\(problems)")
    #expect(await store.images().map(\.id) == [good.id])
    #expect(try Directory(path: "\(copy)/images/set-aside").list().count == 1)
    try LayerUnpack.remove(copy)
    try await it.close()
  }

  @Test func aLayerThatWasNotOnDiskWhenTheMachineWentDownIsDropped() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    _ = try await it.store.pull(reference, from: MemorySource(image).source)
    await it.store.shutdown()
    let copy = it.directory.path + "-copy"
    _ = try await ChildProcess.run("/bin/cp", arguments: ["cp", "-a", it.directory.path, copy])
    let path = "\(copy)/images/layers/\(digest(tar([("mark", "1")])).hex).json"
    let text = try #require(try Files.readText(path))
    #expect(text.contains("\"isDurable\": true"))
    try Files.writeAtomically(
      path,
      Array(text.replacing("\"isDurable\": true", with: "\"isDurable\": false").replacing(try bootID(), with: "x").utf8)
    )
    let problems = try await ImageStore(root: copy, log: quiet).start()
    #expect(problems.first?.problem.contains("before this layer was on disk") == true)
    try LayerUnpack.remove(copy)
    try await it.close()
  }

  // MARK: Names

  @Test func anImageIsFoundByEveryNameItHas() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let name = try ImageReference("busybox:1.36")
    _ = try await it.store.pull(name, from: MemorySource(image).source)
    let id = image.id.hex
    for key in [
      "busybox:1.36", "docker.io/library/busybox:1.36", id, "sha256:\(id)", String(id.prefix(12)),
      "busybox@\(digest(image.manifest))",
    ] {
      #expect(await it.store.image(key)?.id == image.id, "\(key)")
    }
    for key in ["busybox", "busybox:1.37", "nothing", String(repeating: "0", count: 64), "", "\(id)0"] {
      #expect(await it.store.image(key) == nil, "\(key)")
    }
    try await it.close()
  }

  @Test func aNameMovesToTheImageThatWasPulledLast() async throws {
    let it = try await StoreFixture()
    let (one, two) = (try await sampleImage("1"), try await sampleImage("2"))
    _ = try await it.store.pull(reference, from: MemorySource(one).source)
    _ = try await it.store.pull(reference, from: MemorySource(two).source)
    #expect(await it.store.image(reference.description)?.id == two.id)
    #expect(await it.store.image(one.id.description)?.repoTags == [])
    let removal = try await it.store.prune(all: false)
    #expect(removal.images == [one.id] && removal.layers.count == 1)
    #expect(await it.store.images().map(\.id) == [two.id])
    try await it.close()
  }

  @Test func removingTakesEveryNameAndDoingItAgainIsNoError() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    let source = MemorySource(image)
    _ = try await it.store.pull(try ImageReference("a.test/a:1"), from: source.source)
    _ = try await it.store.pull(try ImageReference("a.test/a:2"), from: source.source)
    #expect(try await it.store.untag("a.test/a:2")?.untagged == ["a.test/a:2"])
    #expect(await it.store.images().count == 1)
    #expect(try await it.store.remove("a.test/a:1")?.images == [image.id])
    #expect(try await it.store.remove("a.test/a:1") == nil)
    #expect(try it.contents() == [])
    try await it.close()
  }

  @Test func anImageThatIsHeldStaysAndOneThatIsPinnedOutlivesPrune() async throws {
    let it = try await StoreFixture(options: ImageStoreOptions(pinnedNames: ["b.test/b"]))
    let (one, two) = (try await sampleImage("1"), try await sampleImage("2"))
    _ = try await it.store.pull(try ImageReference("a.test/a"), from: MemorySource(one).source)
    let pinned = try await it.store.pull(try ImageReference("b.test/b"), from: MemorySource(two).source)
    #expect(pinned.pinned)
    _ = try await it.store.hold("a.test/a", for: "container-1")
    let error = await #expect(throws: ImageError.self) { try await it.store.remove("a.test/a") }
    #expect(error?.code == .inUse && error?.detail == "is used by container container-1; remove that first")
    #expect(try await it.store.prune(all: true).images == [])
    await it.store.release(owner: "container-1")
    await it.store.release(owner: "container-1")
    #expect(try await it.store.prune(all: true).images == [one.id])
    let usage = await it.store.usage()
    #expect(usage.bytes > 0 && usage.inodes > 3)
    try await it.close()
  }

  // MARK: Archives

  @Test(arguments: [false, true]) func anExportIsImportedAgainAsTheSameImage(_ keepBlobs: Bool) async throws {
    let it = try await StoreFixture(options: ImageStoreOptions(keepBlobs: keepBlobs))
    let image = try await sampleImage()
    let before = try await it.store.pull(reference, from: MemorySource(image).source)
    let path = "\(it.directory.path)/out.tar"
    try await it.store.export(["example.test/app:1"], to: path)
    let other = try await StoreFixture()
    let records = try await other.store.importArchive(path: path)
    #expect(records.map(\.id) == [image.id])
    #expect(records[0].repoTags == before.repoTags)
    #expect((records[0].repoDigests == before.repoDigests) == keepBlobs)
    #expect(records[0].layerDirectories.map(Files.name(of:)) == before.layerDirectories.map(Files.name(of:)))
    let listed = try await ChildProcess.run(
      "/usr/bin/skopeo", arguments: ["skopeo", "inspect", "--config", "oci-archive:\(path)"],
      environment: ["PATH=/usr/bin:/bin", "HOME=\(it.directory.path)"])
    #expect(
      digest(Array(listed.output)) == image.id || String(decoding: listed.output, as: UTF8.self).contains("diff_ids"),
      "\(String(decoding: listed.errorOutput, as: UTF8.self))")
    try await other.close()
    try await it.close()
  }

  @Test func archivesThatSkopeoMadeAreImported() async throws {
    let it = try await StoreFixture()
    let image = try await sampleImage()
    _ = try await it.store.pull(reference, from: MemorySource(image).source)
    let (path, work) = ("\(it.directory.path)/out.tar", it.directory.path)
    try await it.store.export([image.id.description], to: path)
    for target in [
      "docker-archive:\(work)/docker.tar:example.test/d:1", "oci:\(work)/layout:example.test/o:1",
      "oci-archive:\(work)/oci.tar:latest",
    ] {
      let outcome = try await ChildProcess.run(
        "/usr/bin/skopeo", arguments: ["skopeo", "--insecure-policy", "copy", "-q", "oci-archive:\(path)", target],
        environment: ["PATH=/usr/bin:/bin", "HOME=\(work)"])
      #expect(outcome.status == .exited(0), "\(String(decoding: outcome.errorOutput, as: UTF8.self))")
    }
    _ = try await ChildProcess.run("/usr/bin/gzip", arguments: ["gzip", "-k", "\(work)/docker.tar"])
    for (name, tags) in [
      ("docker.tar", ["example.test/d:1"]), ("docker.tar.gz", ["example.test/d:1"]), ("layout", ["example.test/o:1"]),
      ("oci.tar", []),
    ] {
      let other = try await StoreFixture()
      let records = try await other.store.importArchive(path: "\(work)/\(name)")
      #expect(records.count == 1 && records.first?.repoTags == tags, "\(name)")
      #expect(try Files.readText("\(records[0].layerDirectories[1])/mark") == "1")
      #expect(try other.contents().allSatisfy { !$0.contains(".tmp") })
      let named = try await other.store.importArchive(
        path: "\(work)/\(name)", names: [try ImageReference("n.test/n:9")])
      #expect(named[0].repoTags.contains("n.test/n:9"))
      try await other.close()
    }
    try await it.close()
  }

  @Test func whatIsNoImageArchiveIsRefusedByName() async throws {
    let it = try await StoreFixture()
    let path = "\(it.directory.path)/x.tar"
    try Files.writeAtomically(path, tar([("hello", "world")]))
    let other = await #expect(throws: ImageError.self) { try await it.store.importArchive(path: path) }
    #expect(other?.code == .unsupported && other?.description.contains("no image archive") == true)
    let missing = await #expect(throws: ImageError.self) { try await it.store.importArchive(path: "\(path).not") }
    #expect(missing?.code == .notFound)
    try Files.writeAtomically(
      path,
      tar([
        ("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"),
        (
          "index.json",
          "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"\(MediaType.ociManifest)\",\"digest\":\"sha256:\(String(repeating: "1", count: 64))\",\"size\":3}]}"
        ),
      ]))
    let incomplete = await #expect(throws: ImageError.self) { try await it.store.importArchive(path: path) }
    #expect(incomplete?.detail.contains("has no blob sha256:111") == true)
    try Files.writeAtomically(
      path,
      tar([("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"), ("index.json", String(repeating: "[", count: 60_000))])
    )
    let deep = await #expect(throws: ImageError.self) { try await it.store.importArchive(path: path) }
    #expect(deep?.code == .invalid && deep?.description.contains("index.json") == true)
    #expect(try it.contents() == [])
    try await it.close()
  }

  @Test func anExportOfALayerThatReplacedItselfAsksForKeptBlobs() async throws {
    let it = try await StoreFixture()
    let image = try await TestImage(layers: [tar([("a", "1"), ("a", "2")])])
    _ = try await it.store.pull(reference, from: MemorySource(image).source)
    let path = "\(it.directory.path)/out.tar"
    let error = await #expect(throws: ImageError.self) { try await it.store.export([reference.description], to: path) }
    #expect(error?.code == .unsupported && error?.detail.contains("keep-blobs = true") == true)
    #expect(try Directory(path: it.directory.path).list().map(\.name).sorted() == ["images", "layers"])
    try await it.close()
  }
}
