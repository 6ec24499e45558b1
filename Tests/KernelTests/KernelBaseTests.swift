import Kernel
import Testing
import TestSupport

@Suite struct KernelBaseTests {
  @Test func errorsNameCallSubjectAndNumber() throws {
    let error = #expect(throws: SyscallError.self) { _ = try Files.read("/nowhere/config.json") }
    #expect(error?.description == "open(/nowhere/config.json): ENOENT (2)")
  }

  @Test func aFileIsReplacedWholeOrNotAtAll() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/record"
    try Files.writeAtomically(path, Array("one".utf8))
    try Files.writeAtomically(path, Array("two".utf8), durable: true)
    #expect(try Files.readText(path) == "two")
    #expect(try Directory(path: directory.path).list().map(\.name) == ["record"])
    #expect(throws: SyscallError.self) { try Files.writeAtomically("\(directory.path)/none/record", []) }
  }

  @Test func pathsBelowARootNeverLeaveIt() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.symlink("/etc", at: "\(directory.path)/out")
    let root = try Directory(path: directory.path)
    #expect(throws: SyscallError.self) { _ = try root.openInRoot("out/passwd", flags: OpenFlags.readOnly) }
    #expect(throws: SyscallError.self) { _ = try root.openInRoot("../../../etc/passwd", flags: OpenFlags.readOnly) }
    let error = #expect(throws: SyscallError.self) { _ = try root.openBeneath("out", flags: OpenFlags.readOnly) }
    #expect(error?.errno == Errno.tooManyLinks)
  }

  @Test func aTreeIsRemovedWithoutFollowingItsLinks() throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    try Files.makeDirectories("\(directory.path)/kept")
    try Files.writeAtomically("\(directory.path)/kept/file", [1])
    try Files.makeDirectories("\(directory.path)/gone/a/b")
    try Files.symlink("\(directory.path)/kept", at: "\(directory.path)/gone/a/link")
    try Files.removeTree("\(directory.path)/gone")
    #expect(!Files.exists("\(directory.path)/gone"))
    #expect(Files.exists("\(directory.path)/kept/file"))
  }

  @Test func aProgramRunsWithItsInputAndGivesItsOutputs() async throws {
    let outcome = try await ChildProcess.run(
      "/bin/sh", arguments: ["sh", "-c", "cat; echo oops >&2; exit 3"], input: Array("hello".utf8))
    #expect(outcome.status == .exited(3))
    #expect(String(decoding: outcome.output, as: UTF8.self) == "hello")
    #expect(String(decoding: outcome.errorOutput, as: UTF8.self) == "oops\n")
  }

  @Test func aProgramThatIsMissingIsAnErrorThatNamesIt() async {
    let error = await #expect(throws: SyscallError.self) {
      try await ChildProcess.run("/nowhere/tool", arguments: ["tool"])
    }
    #expect(error?.description == "spawn(/nowhere/tool): ENOENT (2)")
  }

  @Test func aProgramThatTakesTooLongOrSaysTooMuchIsKilled() async {
    let slow = await #expect(throws: SyscallError.self) {
      try await ChildProcess.run("/bin/sleep", arguments: ["sleep", "60"], timeoutSeconds: 0.1)
    }
    #expect(slow?.errno == Errno.timedOut)
    let silent = await #expect(throws: SyscallError.self) {
      try await ChildProcess.run(
        "/bin/sh", arguments: ["sh", "-c", "exec sleep 60 >&- 2>&-"], timeoutSeconds: 0.1)
    }
    #expect(silent?.errno == Errno.timedOut)
    let loud = await #expect(throws: SyscallError.self) {
      try await ChildProcess.run("/usr/bin/yes", arguments: ["yes"], maxOutputBytes: 1 << 20)
    }
    #expect(loud?.errno == Errno.messageTooLong)
  }

  @Test func aDroppedChildIsKilledAndReaped() throws {
    let processID: Int32
    do {
      let child = try ChildProcess.start("/bin/sleep", arguments: ["sleep", "60"])
      processID = child.processID
      #expect(try child.poll() == nil)
    }
    #expect(!Files.exists("/proc/\(processID)"))
  }

  @Test func mountLinesAreParsedWithTheirEscapes() {
    let line = #"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"#
    let mount = MountInfo.parse(line).first
    #expect(mount?.mountPoint == "/mnt 2")
    #expect(mount?.fileSystem == "ext3")
    #expect(mount?.superOptions == ["rw", "errors=continue"])
  }
}
