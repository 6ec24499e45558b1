import Kernel
import TestSupport
import Testing

@Suite struct LayerRemovalTests {
  /// - Parameter script: Python that makes something in the directory it runs in.
  private func made(_ script: String) async throws -> TestDirectory {
    let directory = try TestDirectory()
    try Files.makeDirectories("\(directory.path)/tree")
    let run = try await ChildProcess.run(
      "/usr/bin/python3",
      arguments: ["python3", "-c", "import os; os.chdir('\(directory.path)/tree')\n" + script])
    try #require(run.status == .exited(0), "\(String(decoding: run.errorOutput, as: UTF8.self))")
    return directory
  }

  @Test func namesThatAreNotTextAreRemovedToo() async throws {
    let directory = try await made(
      "os.mkdir(b'\\xff\\xfe'); open(b'\\xff\\xfe/\\x80', 'w'); os.symlink(b'/', b'\\xfd')")
    try Files.removeTree("\(directory.path)/tree")
    #expect(try Directory(path: directory.path).list() == [])
    try directory.remove()
  }

  @Test func aTreeDeeperThanDescriptorsAndStackReachIsRemoved() async throws {
    let directory = try await made(
      """
      for i in range(5000):
        os.mkdir('d'); open('f', 'w').close(); os.chdir('d')
      """)
    try Files.removeTree("\(directory.path)/tree")
    #expect(try Directory(path: directory.path).list() == [])
    try directory.remove()
  }

  @Test func linksOutOfATreeAreRemovedAndNotFollowed() async throws {
    let directory = try await made(
      "os.mkdir('../kept'); open('../kept/file', 'w').close(); os.symlink('../kept', 'out')")
    try Files.removeTree("\(directory.path)/tree")
    #expect(Files.exists("\(directory.path)/kept/file"))
    #expect(try Directory(path: directory.path).list().map(\.name) == ["kept"])
    try directory.remove()
  }

  @Test func nothingThereIsNoError() throws {
    let directory = try TestDirectory()
    try Files.removeTree("\(directory.path)/absent")
    try Files.removeTree("\(directory.path)/absent/below")
    try directory.remove()
  }
}
