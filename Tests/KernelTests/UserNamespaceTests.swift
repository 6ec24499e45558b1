import Kernel
import Testing

@Suite struct UserNamespaceTests {
  /// Each is made by a child that waits for this process; children must not keep each other's ends open.
  @Test(.timeLimit(.minutes(1))) func manyAreMadeAtOnce() async throws {
    let ranges = [IDRange(inside: 0, outside: 200_000, count: 65_536)]
    for _ in 0..<20 {
      let made = try await withThrowingTaskGroup(of: UserNamespace.self) { group in
        for _ in 0..<16 {
          group.addTask {
            try await onFreshThread { () throws(SyscallError) in
              try UserNamespace.make(uids: ranges, gids: ranges, withNetwork: false)
            }
          }
        }
        var all: [UserNamespace] = []
        for try await namespace in group { all.append(namespace) }
        return all
      }
      #expect(Set(made.map(\.path)).count == 16)
    }
  }
}
