import Kernel
import TestSupport
import Testing
import Volumes

@Suite struct LocalDirectoryTests {
  @Test func aDirectoryIsMadeForAllAndGoesWithAllInItAndNothingElse() throws {
    let scratch = try TestDirectory()
    let store = VolumeStore(root: "\(scratch.path)/volumes")
    let root = "\(scratch.path)/local"
    let request = VolumeRequest(name: "d", source: .localDirectory("\(root)/pv1", isMade: true))
    #expect(try store.make(request, pod: "u") == "\(root)/pv1")
    #expect(try Files.status("\(root)/pv1")?.mode ?? 0 & 0o7777 == 0o777)
    try Files.writeAtomically("\(scratch.path)/precious", Array("x".utf8))
    try Files.symlink(scratch.path, at: "\(root)/pv1/out")
    try Files.makeDirectories("\(root)/pv2")
    try LocalDirectory.remove("\(root)/pv1", below: root)
    #expect(!Files.exists("\(root)/pv1"))
    #expect(Files.exists("\(scratch.path)/precious") && Files.exists("\(root)/pv2"))
    // Again is no error.
    try LocalDirectory.remove("\(root)/pv1", below: root)
    for path in ["\(root)/../precious", "\(scratch.path)/precious", root, "\(root)/", "\(root)/pv2/x", "/etc"] {
      #expect(throws: VolumeError.self, "\(path)") { try LocalDirectory.remove(path, below: root) }
    }
    #expect(Files.exists("\(scratch.path)/precious") && Files.exists("\(root)/pv2"))
    try scratch.remove()
  }

  @Test func aDirectoryThatMustBeThereIsNotMade() throws {
    let scratch = try TestDirectory()
    let store = VolumeStore(root: "\(scratch.path)/volumes")
    let request = VolumeRequest(name: "d", source: .localDirectory("\(scratch.path)/disk", isMade: false))
    #expect(throws: VolumeError.self) { try store.make(request, pod: "u") }
    try Files.makeDirectories("\(scratch.path)/disk")
    #expect(try store.make(request, pod: "u", group: 4242) == "\(scratch.path)/disk")
    let status = try #require(try Files.status("\(scratch.path)/disk"))
    #expect(status.mode & 0o2070 == 0o2070)
    try scratch.remove()
  }
}
