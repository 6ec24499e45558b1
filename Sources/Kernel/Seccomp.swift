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

/// Compiles filters to programs of the kernel's.
package enum Seccomp {
  package struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
    package let what: String
    package let errno: CInt

    package var description: String { "seccomp: \(what): \(SyscallError.name(of: errno)) (\(errno))" }
  }

  /// Changes when this code makes other programs of the same filters.
  package static let programVersion = 3
  /// Instructions that the kernel takes.
  package static let instructionsMax = 4096

  /// - Returns: the program's instructions, 8 bytes each. Needs no privilege.
  /// - Throws: `Failure` naming the architecture, or EFBIG for a program that is too long. Calls that no architecture
  ///   has are left out, as the specification of OCI says.
  package static func compile(_ filter: SeccompFilter) throws(Failure) -> [UInt8] {
    let otherwise = action(filter.defaultAction)
    let unknown = csecurity_action_errno(UInt32(ENOSYS))
    let native = unsafe String(cString: csecurity_native_architecture_name())
    var names = [native]
    for name in filter.architectures where !names.contains(name) && name != "SCMP_ARCH_NATIVE" { names.append(name) }
    var parts: [(audit: UInt32, ranges: [SeccompTable.Range])] = []
    for name in names {
      let token = unsafe csecurity_architecture(name)
      guard token != 0 else {
        // Another machine's: nothing of it runs here.
        if name.hasPrefix("SCMP_ARCH_") { continue }
        throw Failure(what: "architecture \(name)", errno: EINVAL)
      }
      // Its calls have the audit number of x86-64 and a bit of their own; the table of that one answers them.
      if name == "SCMP_ARCH_X32" { continue }
      var table = SeccompTable(audit: token, otherwise: otherwise)
      for rule in filter.rules {
        for call in rule.names {
          let number = unsafe csecurity_call_number(token, call)
          if number >= 0 { table.add(UInt32(number), action(rule.action), rule.arguments) }
        }
      }
      let alien: UInt32? = name == "SCMP_ARCH_X86_64" ? 0x4000_0000 : nil
      parts.append((token, table.ranges(highest: UInt32(csecurity_highest_call()), alien: alien, unknown: unknown)))
    }
    var writer = SeccompWriter()
    writer.write(parts, alien: unknown)
    let program = writer.program
    guard program.count <= instructionsMax * 8 else {
      throw Failure(what: "\(program.count / 8) instructions, more than \(instructionsMax)", errno: EFBIG)
    }
    return program
  }

  /// What libseccomp makes of a filter, to compare with.
  package static func libraryProgram(_ filter: SeccompFilter) throws(Failure) -> [UInt8] {
    guard let context = unsafe csecurity_filter_new(action(filter.defaultAction)) else {
      throw Failure(what: "default action", errno: ENOMEM)
    }
    // Safe: freed once, on every way out.
    defer { unsafe csecurity_filter_free(context) }
    for architecture in filter.architectures {
      try check(unsafe csecurity_filter_add_architecture(context, architecture), "architecture \(architecture)")
    }
    for rule in filter.rules {
      let arguments = rule.arguments.map { argument in
        csecurity_argument(
          index: argument.index, compare: argument.comparison.rawValue, value: argument.value,
          value_two: argument.valueTwo)
      }
      for name in rule.names {
        let code = unsafe csecurity_filter_add_rule(
          context, action(rule.action), name, arguments, UInt32(arguments.count))
        if code != -ENOENT { try check(code, "rule for \(name)") }
      }
    }
    return try unsafe export(context)
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
      return try file.readAll(maxBytes: instructionsMax * 8)
    } catch {
      throw Failure(what: error.call, errno: error.errno)
    }
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
