import Kernel
import TestSupport
import Testing
import Volumes

/// A store of one test, and the proof that it leaves nothing.
private func withStore(_ body: (VolumeStore, String) throws -> Void) throws {
  let scratch = try TestDirectory()
  let store = VolumeStore(root: "\(scratch.path)/volumes")
  do {
    try body(store, scratch.path)
  } catch {
    try? VolumeMount.detachAll(below: scratch.path)
    try scratch.remove()
    throw error
  }
  for uid in try store.pods() { try store.remove(pod: uid) }
  #expect(try store.pods().isEmpty)
  #expect(try LeakCheck(token: scratch.token).remains() == [])
  try scratch.remove()
  #expect(!Files.exists(scratch.path))
}

private func text(_ path: String) throws -> String { String(decoding: try Files.read(path), as: UTF8.self) }

private func files(_ pairs: [String: String], mode: UInt32 = 0o644) -> VolumeRequest {
  let files = pairs.sorted { $0.key < $1.key }.map {
    VolumeRequest.File(path: $0.key, bytes: Array($0.value.utf8), mode: mode)
  }
  return VolumeRequest(name: "files", source: .projection(files))
}

@Suite struct VolumeStoreTests {
  @Test func anEmptyDirOnDiskIsOpenToAll() throws {
    try withStore { store, _ in
      let request = VolumeRequest(name: "scratch", source: .emptyDirectory(inMemory: false, sizeLimitBytes: nil))
      let path = try store.make(request, pod: "uid")
      #expect(try Files.status(path)?.mode == 0o777)
      try Files.writeAtomically("\(path)/kept", [1])
      #expect(try store.make(request, pod: "uid") == path)
      #expect(Files.exists("\(path)/kept"))
      #expect(try Files.status("\(store.root)")?.mode == 0o700)
    }
  }

  @Test func anEmptyDirInMemoryHoldsItsLimitAndNoMore() throws {
    try withStore { store, _ in
      let request = VolumeRequest(name: "ram", source: .emptyDirectory(inMemory: true, sizeLimitBytes: 64 << 10))
      let path = try store.make(request, pod: "uid")
      #expect(try Files.space(path).kind == 0x0102_1994)
      #expect(try Files.space(path).totalBytes == 64 << 10)
      try Files.writeAtomically("\(path)/fits", [UInt8](repeating: 1, count: 32 << 10))
      #expect(throws: SyscallError.self) {
        try Files.writeAtomically("\(path)/more", [UInt8](repeating: 1, count: 64 << 10))
      }
      // Asking again does not mount again.
      _ = try store.make(request, pod: "uid")
      #expect(try MountInfo.current().filter { $0.mountPoint == path }.count == 1)
    }
  }

  @Test func theGroupOfThePodOwnsItsVolumes() throws {
    try withStore { store, _ in
      for inMemory in [false, true] {
        let path = try store.make(
          VolumeRequest(name: "v\(inMemory ? 1 : 0)", source: .emptyDirectory(inMemory: inMemory, sizeLimitBytes: nil)),
          pod: "uid", group: 2000)
        #expect(try Files.status(path)?.group == 2000)
        #expect(try Files.status(path)?.mode == 0o2777)
      }
      let path = try store.make(files(["key": "x"], mode: 0o400), pod: "uid", group: 2000)
      #expect(try Files.status("\(path)/key", follow: true)?.group == 2000)
      #expect(try Files.status("\(path)/key", follow: true)?.mode == 0o440)
    }
  }

  @Test func secretsAreFilesInMemoryThatNeverSwap() throws {
    try withStore { store, _ in
      let path = try store.make(files(["user": "a", "deep/er/key": "b"], mode: 0o400), pod: "uid")
      #expect(try text("\(path)/user") == "a")
      #expect(try text("\(path)/deep/er/key") == "b")
      #expect(try Files.status("\(path)/user", follow: true)?.mode == 0o400)
      let mount = try #require(try MountInfo.current().first { $0.mountPoint == path })
      #expect(mount.fileSystem == "tmpfs")
      #expect(mount.superOptions.contains("noswap"))
    }
  }

  @Test func anUpdateSwapsAllFilesAtOnce() throws {
    try withStore { store, _ in
      let path = try store.make(files(["a": "1", "b": "1", "gone": "1"]), pod: "uid")
      let before = try Files.readLink("\(path)/..data")
      _ = try store.make(files(["a": "1", "b": "1", "gone": "1"]), pod: "uid")
      #expect(try Files.readLink("\(path)/..data") == before, "an update that changes nothing writes nothing")
      // A reader that holds the old version sees old files only, until the swap.
      _ = try store.make(files(["a": "2", "b": "2", "new": "2"]), pod: "uid")
      #expect(try Files.readLink("\(path)/..data") != before)
      #expect(try text("\(path)/a") + text("\(path)/b") + text("\(path)/new") == "222")
      let names = try Directory(path: path).list().map(\.name).sorted()
      #expect(names.filter { !$0.hasPrefix("..v_") } == ["..data", "a", "b", "new"])
      #expect(names.count { $0.hasPrefix("..v_") } == 1)
    }
  }

  @Test func aReaderNeverSeesHalfAnUpdate() async throws {
    let scratch = try TestDirectory()
    let store = VolumeStore(root: "\(scratch.path)/volumes")
    let path = try store.make(files(["a": "0", "b": "0"]), pod: "uid")
    async let torn = onFreshThread { () throws(SyscallError) -> Int in
      var torn = 0
      for _ in 0..<3000 {
        // Through one descriptor of `..data`, as an application that wants both reads them.
        guard let version = try? Directory(path: "\(path)/..data") else { continue }
        let first = try? version.openBeneath("a", flags: OpenFlags.readOnly).readAll(maxBytes: 9)
        let second = try? version.openBeneath("b", flags: OpenFlags.readOnly).readAll(maxBytes: 9)
        if let first, let second, first != second { torn += 1 }
      }
      return torn
    }
    for round in 0..<200 { _ = try store.make(files(["a": "\(round)", "b": "\(round)"]), pod: "uid") }
    #expect(try await torn == 0)
    try store.remove(pod: "uid")
    #expect(try LeakCheck(token: scratch.token).remains() == [])
    try scratch.remove()
  }

  @Test func aSubPathStaysInsideTheVolume() throws {
    try withStore { store, scratch in
      let volume = try store.make(
        VolumeRequest(name: "v", source: .emptyDirectory(inMemory: false, sizeLimitBytes: nil)), pod: "uid")
      try Files.makeDirectories("\(scratch)/outside")
      try Files.writeAtomically("\(scratch)/outside/secret", Array("host".utf8))
      // What a container may have put there: links out by absolute and by relative path.
      try Files.symlink("\(scratch)/outside", at: "\(volume)/absolute")
      try Files.symlink("../../../outside", at: "\(volume)/relative")
      try Files.symlink("/proc/self/root\(scratch)/outside", at: "\(volume)/magic")
      for name in ["absolute", "relative", "magic"] {
        let found = try? store.mountSource(
          volumePath: volume, inner: "\(name)/secret", pod: "uid", container: "c", index: 0)
        if let found { #expect(try Files.status(found)?.kind == .directory, "made inside, not the host's file") }
        #expect(try text("\(scratch)/outside/secret") == "host")
        #expect(try Directory(path: "\(scratch)/outside").list().count == 1, "nothing was made outside")
      }
      #expect(throws: VolumeError.self) {
        try store.mountSource(volumePath: volume, inner: "../../x", pod: "uid", container: "c", index: 0)
      }
    }
  }

  @Test func aSubPathIsHeldByDescriptorNotByName() throws {
    try withStore { store, scratch in
      let volume = try store.make(
        VolumeRequest(name: "v", source: .emptyDirectory(inMemory: false, sizeLimitBytes: nil)), pod: "uid")
      let source = try store.mountSource(volumePath: volume, inner: "a/b", pod: "uid", container: "c", index: 0)
      try Files.writeAtomically("\(volume)/a/b/inside", [])
      // The container swaps the directory for a link after it was resolved.
      try Files.rename("\(volume)/a", to: "\(volume)/was")
      try Files.makeDirectories("\(scratch)/outside/b")
      try Files.symlink("\(scratch)/outside", at: "\(volume)/a")
      #expect(Files.exists("\(source)/inside"))
      // A file, and the same place again for the next start of the container.
      try Files.writeAtomically("\(volume)/file", Array("x".utf8))
      let again = try store.mountSource(volumePath: volume, inner: "file", pod: "uid", container: "c", index: 0)
      #expect(again == source)
      #expect(try text(again) == "x")
    }
  }

  @Test func removingAPodReachesIntoNothingThatIsMountedThere() throws {
    try withStore { store, scratch in
      try Files.makeDirectories("\(scratch)/host/dir")
      try Files.writeAtomically("\(scratch)/host/dir/precious", [1])
      let host = VolumeRequest(name: "h", source: .hostPath("\(scratch)/host", .directory))
      let path = try store.make(host, pod: "uid")
      #expect(path == "\(scratch)/host")
      _ = try store.mountSource(volumePath: path, inner: "dir", pod: "uid", container: "c", index: 0)
      _ = try store.make(
        VolumeRequest(name: "m", source: .emptyDirectory(inMemory: true, sizeLimitBytes: nil)), pod: "uid")
      try store.remove(pod: "uid")
      try store.remove(pod: "uid")
      #expect(Files.exists("\(scratch)/host/dir/precious"))
      #expect(!Files.exists("\(store.root)/uid"))
    }
  }

  @Test(arguments: [
    (VolumeRequest.HostPathKind.directory, "does not exist and must be a Directory"),
    (.file, "does not exist and must be a File"), (.any, "does not exist"), (.socket, "must be a Socket"),
    (.blockDevice, "must be a BlockDevice"),
  ])
  func aHostPathThatIsNotThereIsRefused(_ kind: VolumeRequest.HostPathKind, _ message: String) throws {
    try withStore { store, scratch in
      let request = VolumeRequest(name: "h", source: .hostPath("\(scratch)/none", kind))
      let error = #expect(throws: VolumeError.self) { try store.make(request, pod: "uid") }
      #expect(error?.description.contains(message) == true)
      #expect(error?.description.contains("volume \"h\"") == true)
    }
  }

  @Test func hostPathsOfTheRightKindAreTakenOrMade() throws {
    try withStore { store, scratch in
      func make(_ path: String, _ kind: VolumeRequest.HostPathKind) throws -> String {
        try store.make(VolumeRequest(name: "h", source: .hostPath(path, kind)), pod: "uid")
      }
      #expect(try make("/dev/null", .characterDevice) == "/dev/null")
      _ = try make("\(scratch)/new/dir", .directoryOrCreate)
      #expect(try Files.status("\(scratch)/new/dir")?.kind == .directory)
      _ = try make("\(scratch)/new/file", .fileOrCreate)
      #expect(try Files.status("\(scratch)/new/file")?.mode == 0o644)
      let error = #expect(throws: VolumeError.self) { try make("\(scratch)/new/file", .directory) }
      #expect(error?.description.contains("is a file and must be a Directory") == true)
    }
  }

  @Test(arguments: ["../x", "/x", "a/../b", "..data", "", "a//b", "."])
  func filesThatWouldLeaveTheVolumeAreRefused(_ path: String) throws {
    try withStore { store, _ in
      let request = VolumeRequest(name: "v", source: .projection([.init(path: path, bytes: [], mode: 0o644)]))
      #expect(throws: VolumeError.self) { try store.make(request, pod: "uid") }
    }
  }

  @Test(arguments: ["", ".", "..", "a/b", "../x"])
  func uidsThatWouldLeaveTheStoreAreRefused(_ uid: String) throws {
    try withStore { store, _ in
      let request = VolumeRequest(name: "v", source: .emptyDirectory(inMemory: false, sizeLimitBytes: nil))
      #expect(throws: VolumeError.self) { try store.make(request, pod: uid) }
      #expect(throws: VolumeError.self) { try store.remove(pod: uid) }
    }
  }

  @Test func usedBytesCountsFilesAndFollowsNoLink() throws {
    try withStore { store, scratch in
      let path = try store.make(
        VolumeRequest(name: "v", source: .emptyDirectory(inMemory: false, sizeLimitBytes: nil)), pod: "uid")
      try Files.writeAtomically("\(scratch)/large", [UInt8](repeating: 1, count: 4 << 20))
      try Files.symlink(scratch, at: "\(path)/link")
      try Files.makeDirectories("\(path)/a/b")
      try Files.writeAtomically("\(path)/a/b/file", [UInt8](repeating: 1, count: 1 << 20))
      let used = try store.usedBytes("v", pod: "uid")
      #expect(used >= 1 << 20)
      #expect(used < 2 << 20)
    }
  }

  @Test func aFailedVolumeLeavesNoDescriptorOpen() throws {
    try withStore { store, _ in
      let request = VolumeRequest(name: "h", source: .hostPath("/nonexistent", .directory))
      _ = try? store.make(request, pod: "uid")
      let before = try CurrentProcess.openDescriptors()
      for _ in 0..<64 { _ = try? store.make(request, pod: "uid") }
      #expect(try CurrentProcess.openDescriptors() < before + 32)
    }
  }
}
