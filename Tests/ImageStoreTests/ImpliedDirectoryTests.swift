import ImageStore
import Kernel
import OCISpec
import TestSupport
import Testing

@Suite struct ImpliedDirectoryTests {
  private func tar(_ build: (inout TestTar) -> Void) -> [UInt8] {
    var tar = TestTar()
    build(&tar)
    return tar.finished
  }

  private func status(_ image: ImageRecord, _ path: String, _ it: StoreFixture) throws -> FileStatus? {
    let empty = "\(it.directory.path)/empty"
    try Files.makeDirectories(empty)
    return try LayerStack(image.layerDirectories, empty: empty).find(path)?.status
  }

  private var layers: [[UInt8]] {
    [
      tar { tar in
        tar.add("tmp", .directory, mode: 0o1777, modified: 1_500_000_000)
        tar.add("srv/a", .directory, mode: 0o2750, owner: 5, group: 6)
        tar.add("gone", .directory, mode: 0o711)
        tar.add("said", .directory, mode: 0o700)
        tar.add("opaque/in", .directory, mode: 0o700)
      },
      tar { tar in
        tar.add("tmp/x", "x")
        tar.add("srv/a/deep/file", "y")
        tar.add(".wh.gone", "")
        tar.add("said", .directory, mode: 0o710)
        tar.add("opaque/.wh..wh..opq", "")
        tar.add("opaque/in/new", "n")
      },
      tar { tar in
        tar.add("tmp/z", "z")
        tar.add("gone/again", "a")
        tar.add("said/more", "m")
        tar.add("first/of/all", "f")
      },
    ]
  }

  @Test func aDirectoryThatALayerOnlyImpliesIsWhatLowerLayersSay() async throws {
    let it = try await StoreFixture()
    let image = try await it.store.pull(reference, from: MemorySource(try await TestImage(layers: layers)).source)
    let temporary = try #require(try status(image, "tmp", it))
    #expect(temporary.mode == 0o1777 && temporary.modifiedNanoseconds == 1_500_000_000_000_000_000)
    let owned = try #require(try status(image, "srv/a", it))
    #expect(owned.mode == 0o2750 && owned.owner == 5 && owned.group == 6)
    #expect(try status(image, "said", it)?.mode == 0o710)
    // Hidden lower ones say nothing.
    for path in ["gone", "opaque/in", "srv", "srv/a/deep", "first", "first/of"] {
      #expect(try status(image, path, it)?.mode == 0o755, "\(path)")
    }
    for path in ["tmp/x", "tmp/z", "srv/a/deep/file", "gone/again", "said/more", "opaque/in/new"] {
      #expect(try status(image, path, it)?.kind == .file, "\(path)")
    }
    try await it.close()
  }

  @Test func whatShowsThemLivesAsLongAsTheImage() async throws {
    let it = try await StoreFixture()
    let source = MemorySource(try await TestImage(layers: layers))
    let image = try await it.store.pull(reference, from: source.source)
    #expect(try await it.store.pull(reference, from: source.source).layerDirectories == image.layerDirectories)
    let copy = it.directory.path + "-copy"
    defer { try? Files.removeTree(copy) }
    await it.store.shutdown()
    _ = try await ChildProcess.run("/bin/cp", arguments: ["cp", "-a", it.directory.path, copy])
    let again = ImageStore(root: copy, log: quiet)
    _ = try await again.start()
    let found = try #require(await again.image(image.id.description)).layerDirectories
    #expect(found.map { Files.name(of: $0) } == image.layerDirectories.map { Files.name(of: $0) })
    #expect(try Files.status("\(found[0])/tmp")?.mode == 0o1777)
    _ = try await again.remove(image.id.description)
    #expect(try Directory(path: Files.parent(of: found[0])).list().isEmpty)
    await again.shutdown()
    try await it.close()
  }

  @Test func anImageWhoseLayersSayEverythingHasNoLayerMore() async throws {
    let it = try await StoreFixture()
    let said = [
      tar { $0.add("a", .directory, mode: 0o700) },
      tar { tar in
        tar.add("a", .directory, mode: 0o750)
        tar.add("a/b", "b")
      },
    ]
    let image = try await it.store.pull(reference, from: MemorySource(try await TestImage(layers: said)).source)
    #expect(image.layerDirectories.count == 2)
    try await it.close()
  }
}
