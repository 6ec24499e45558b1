package import Kernel
package import OCISpec
internal import Synchronization

/// Compiled seccomp profiles, each compiled once and kept, also over restarts.
package final class SeccompPrograms: Sendable {
  /// Different profiles that are kept in memory; a program has some 10 kB.
  private static let keptMax = 64
  private let directory: String?
  private let kept = Mutex<[RuntimeSpec.Seccomp: [UInt8]]>([:])

  /// - Parameter directory: where programs are kept, as <root>/seccomp; made where it is missing. nil keeps none.
  package init(directory: String?) { self.directory = directory }

  /// The program of a profile. Blocks some milliseconds for a profile that is new.
  /// - Throws: `Seccomp.Failure` naming the rule.
  package func program(_ profile: RuntimeSpec.Seccomp) throws -> [UInt8] {
    if let known = kept.withLock({ $0[profile] }) { return known }
    let filter = try Self.filter(profile)
    let file = directory.map { "\($0)/\(Self.fileName(filter))" }
    var program = file.flatMap { try? Files.read($0, maxBytes: 4096 * 8) } ?? []
    if program.isEmpty || program.count % 8 != 0 {
      program = try Seccomp.compile(filter)
      if let directory, let file {
        try? Files.makeDirectories(directory)
        try? Files.writeAtomically(file, program)
      }
    }
    kept.withLock { kept in
      if kept.count >= Self.keptMax { kept = [:] }
      kept[profile] = program
    }
    return program
  }

  /// Named by what it is made of and what made it.
  private static func fileName(_ filter: SeccompFilter) -> String {
    var hash: (UInt64, UInt64) = (0xcbf2_9ce4_8422_2325, 0x6c62_272e_07bb_0142)
    for byte in "\(Seccomp.programVersion)\(filter)".utf8 {
      hash.0 = (hash.0 ^ UInt64(byte)) &* 0x100_0000_01b3
      hash.1 = (hash.1 &+ UInt64(byte)) &* 0x9e37_79b9_7f4a_7c15
    }
    return String(hash.0, radix: 16) + "-" + String(hash.1, radix: 16) + ".bpf"
  }

  package static func filter(_ profile: RuntimeSpec.Seccomp) throws -> SeccompFilter {
    guard profile.flags.allSatisfy({ $0.isEmpty }) else {
      throw RuntimeSpecError.unsupported("linux.seccomp.flags", profile.flags.joined(separator: ", "))
    }
    return SeccompFilter(
      defaultAction: action(profile.defaultAction, profile.defaultErrno), architectures: profile.architectures,
      rules: profile.rules.map { rule in
        SeccompFilter.Rule(
          names: rule.names, action: action(rule.action, rule.errno),
          arguments: rule.arguments.map { argument in
            SeccompFilter.Argument(
              index: argument.index, comparison: comparison(argument.comparison), value: argument.value,
              valueTwo: argument.valueTwo)
          })
      })
  }

  private static func action(_ action: RuntimeSpec.Seccomp.Action, _ errno: UInt32?) -> SeccompFilter.Action {
    switch action {
    case .allow: .allow
    case .kill, .killThread: .killThread
    case .killProcess: .killProcess
    case .trap: .trap
    case .trace: .trace
    case .log: .log
    case .error: .error(errno ?? 1)
    }
  }

  private static func comparison(_ comparison: RuntimeSpec.Seccomp.Operator) -> SeccompFilter.Comparison {
    switch comparison {
    case .notEqual: .notEqual
    case .less: .less
    case .lessOrEqual: .lessOrEqual
    case .equal: .equal
    case .greaterOrEqual: .greaterOrEqual
    case .greater: .greater
    case .maskedEqual: .maskedEqual
    }
  }
}
