internal import CSecurity
internal import Glibc

/// A filter of system calls as names and conditions; what `Seccomp.compile` takes.
package struct SeccompFilter: Hashable, Sendable {
  package enum Action: Hashable, Sendable {
    case allow, killProcess, killThread, trap, trace, log
    case error(UInt32)
  }
  package enum Comparison: UInt32, Sendable {
    case notEqual = 1
    case less, lessOrEqual, equal, greaterOrEqual, greater, maskedEqual
  }
  package struct Argument: Hashable, Sendable {
    package var index: UInt32
    package var comparison: Comparison
    package var value: UInt64
    /// For `maskedEqual`, where `value` is the mask.
    package var valueTwo: UInt64

    package init(index: UInt32, comparison: Comparison, value: UInt64, valueTwo: UInt64) {
      self.index = index
      self.comparison = comparison
      self.value = value
      self.valueTwo = valueTwo
    }
  }
  package struct Rule: Hashable, Sendable {
    package var names: [String]
    package var action: Action
    package var arguments: [Argument]

    package init(names: [String], action: Action, arguments: [Argument]) {
      self.names = names
      self.action = action
      self.arguments = arguments
    }
  }

  package var defaultAction: Action
  /// Beside the machine's own.
  package var architectures: [String]
  package var rules: [Rule]

  package init(defaultAction: Action, architectures: [String] = [], rules: [Rule] = []) {
    self.defaultAction = defaultAction
    self.architectures = architectures
    self.rules = rules
  }
}

/// Compiles filters to programs of the kernel's, with libseccomp.
package enum Seccomp {
  package struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    package let what: String
    package let errno: CInt

    package var description: String { "seccomp: \(what): \(SyscallError.name(of: errno)) (\(errno))" }
  }

  /// Changes when this code makes other programs of the same filters.
  package static let programVersion = 1

  /// - Returns: the program's instructions, 8 bytes each. Blocks some milliseconds; needs no privilege.
  /// - Throws: `Failure` naming the rule. Calls that neither libseccomp nor this file knows are left out, as the
  ///   specification of OCI says: they fall to the default action.
  package static func compile(_ filter: SeccompFilter) throws(Failure) -> [UInt8] {
    guard let context = unsafe csecurity_filter_new(action(filter.defaultAction)) else {
      throw Failure(what: "default action", errno: ENOMEM)
    }
    // Safe: freed once, on every way out.
    defer { unsafe csecurity_filter_free(context) }
    for architecture in filter.architectures {
      try check(unsafe csecurity_filter_add_architecture(context, architecture), "architecture \(architecture)")
    }
    var recent: [(number: UInt32, action: UInt32)] = []
    for rule in filter.rules {
      let arguments = rule.arguments.map { argument in
        csecurity_argument(
          index: argument.index, compare: argument.comparison.rawValue, value: argument.value,
          value_two: argument.valueTwo)
      }
      for name in rule.names {
        let code = unsafe csecurity_filter_add_rule(
          context, action(rule.action), name, arguments, UInt32(arguments.count))
        if code == -ENOENT {
          let number = unsafe csecurity_recent_call(name)
          if number >= 0, arguments.isEmpty { recent.append((UInt32(number), action(rule.action))) }
        } else {
          try check(code, "rule for \(name)")
        }
      }
    }
    return prologue(recent) + (try unsafe export(context))
  }

  private static func check(_ code: CInt, _ what: String) throws(Failure) {
    if code < 0 { throw Failure(what: what, errno: -code) }
  }

  private static func export(_ context: UnsafeMutableRawPointer) throws(Failure) -> [UInt8] {
    do throws(SyscallError) {
      let file = try Sandbox.memoryFile("seccomp", [])
      let code = file.withRaw { raw in unsafe csecurity_filter_export(context, raw) }
      if code < 0 { throw SyscallError(call: "seccomp_export_bpf", subject: "filter", errno: -code) }
      file.withRaw { raw in _ = lseek(raw, 0, SEEK_SET) }
      return try file.readAll(maxBytes: 4096 * 8)
    } catch {
      throw Failure(what: error.call, errno: error.errno)
    }
  }

  /// What libseccomp cannot say: rules for calls newer than it, and ENOSYS, which makes a program use an older call, for
  /// those newer than this code. EPERM would break it instead.
  private static func prologue(_ recent: [(number: UInt32, action: UInt32)]) -> [UInt8] {
    var rules: [(number: UInt32, action: UInt32)] = []
    for entry in recent where !rules.contains(where: { $0.number == entry.number }) { rules.append(entry) }
    rules.sort { $0.number < $1.number }
    // Jumps reach 255 instructions; there are not that many new calls.
    rules = Array(rules.prefix(100))
    var program: [UInt8] = []
    func emit(_ code: UInt16, _ whenTrue: Int, _ whenFalse: Int, _ value: UInt32) {
      program += [UInt8(truncatingIfNeeded: code), UInt8(code >> 8), UInt8(whenTrue), UInt8(whenFalse)]
      for shift in stride(from: 0, to: 32, by: 8) { program.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
    }
    let (load, jumpEqual, jumpGreater, jumpAtLeast, answer): (UInt16, UInt16, UInt16, UInt16, UInt16) =
      (0x20, 0x15, 0x25, 0x35, 0x06)
    let tests = rules.count * 2
    // Another architecture, another set of numbers: libseccomp's part looks at it.
    emit(load, 0, 0, 4)
    emit(jumpEqual, 0, 1 + 1 + 1 + tests + 2, csecurity_native_architecture())
    emit(load, 0, 0, 0)
    // The x32 variant of a call has this bit; nothing there is new.
    emit(jumpAtLeast, 1 + tests + 2, 0, 0x4000_0000)
    emit(jumpGreater, tests, 0, UInt32(csecurity_highest_call()))
    for rule in rules {
      emit(jumpEqual, 0, 1, rule.number)
      emit(answer, 0, 0, rule.action)
    }
    // Reached by all that matched nothing, and by the too new ones.
    emit(jumpGreater, 0, 1, UInt32(csecurity_highest_call()))
    emit(answer, 0, 0, csecurity_action_errno(UInt32(ENOSYS)))
    return program
  }

  private static func action(_ action: SeccompFilter.Action) -> UInt32 {
    switch action {
    case .allow: csecurity_action_allow()
    case .killProcess: csecurity_action_kill_process()
    case .killThread: csecurity_action_kill_thread()
    case .trap: csecurity_action_trap()
    case .trace: csecurity_action_trace()
    case .log: csecurity_action_log()
    case .error(let number): csecurity_action_errno(number)
    }
  }
}
