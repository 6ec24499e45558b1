internal import OCISpec

/// The process's half of a plan: names, limits, identity, privileges and the program.
struct ProcessCompiler {
  let process: RuntimeSpec.Process
  let seccompProgram: [UInt8]?
  let users: UserMappings?
  /// What takes the process into its user namespace.
  var entersUsers: PlanOperation?
  var operations: [PlanOperation] = []
  private(set) var warnings: [String] = []

  init(process: RuntimeSpec.Process, seccompProgram: [UInt8]?, users: UserMappings?) {
    self.process = process
    self.seccompProgram = seccompProgram
    self.users = users
  }

  /// A profile or label that is asked for and cannot be applied would leave the container less confined than thought.
  func checkLabels(_ context: SandboxContext) throws(PlanError) {
    if isConfined, !context.hasAppArmor {
      throw PlanError(
        "process.apparmorProfile", "\(process.apparmorProfile): the kernel of this node runs without AppArmor")
    }
    if !process.selinuxLabel.isEmpty, !context.hasSELinux {
      throw PlanError("process.selinuxLabel", "\(process.selinuxLabel): the kernel of this node runs without SELinux")
    }
    for (field, label) in [("apparmorProfile", process.apparmorProfile), ("selinuxLabel", process.selinuxLabel)] {
      guard label.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }), label.utf8.count < 4096 else {
        throw PlanError("process.\(field)", "not a name that the kernel takes")
      }
    }
  }

  private var isConfined: Bool { !process.apparmorProfile.isEmpty && process.apparmorProfile != "unconfined" }

  private mutating func add(_ operation: PlanOperation) { operations.append(operation) }

  /// A profile without its program would leave the container unconfined.
  func checkSeccomp(_ profile: RuntimeSpec.Seccomp?) throws(PlanError) {
    if profile != nil, seccompProgram == nil {
      throw PlanError("linux.seccomp", "the profile was not compiled")
    }
    guard let seccompProgram else { return }
    guard seccompProgram.count % 8 == 0, !seccompProgram.isEmpty, seccompProgram.count <= 4096 * 8 else {
      throw PlanError("linux.seccomp", "a program of \(seccompProgram.count) bytes; the kernel takes 4096 instructions")
    }
  }

  mutating func addTerminal(devpts: PlanOperation.Slot?, dev: PlanOperation.Slot?) throws(PlanError) {
    let uid = try users?.hostUser(process.user.uid, field: "process.user") ?? process.user.uid
    add(
      .openTerminal(
        devpts: devpts, dev: dev, rows: process.consoleRows, columns: process.consoleColumns, uid: uid))
  }

  mutating func addNames(spec: RuntimeSpec, context: SandboxContext) throws(PlanError) {
    for (field, name) in [("hostname", spec.hostname), ("domainname", spec.domainname)] where !name.isEmpty {
      guard context.hasOwnUTS else { throw PlanError(field, "needs a UTS namespace of its own") }
      guard name.utf8.count <= 64, !name.utf8.contains(0) else {
        throw PlanError(field, "\(name) has more than 64 bytes")
      }
    }
    if !spec.hostname.isEmpty { add(.setHostname(spec.hostname)) }
    if !spec.domainname.isEmpty { add(.setDomainName(spec.domainname)) }
    for (name, value) in spec.linux.sysctls.sorted(by: { $0.key < $1.key }) {
      let path = try Sysctls.path(
        name: name, value: value, hasOwnIPC: context.hasOwnIPC, hasOwnNetwork: context.hasOwnNetwork)
      add(.setSysctl(path: "sys/" + path, value: value))
    }
  }

  mutating func addProcess() throws(PlanError) {
    try addLimits()
    let user = process.user
    add(.setUmask((user.umask ?? 0o022) & 0o777))
    add(.changeDirectory(try checkedPath(process.workingDirectory, field: "process.cwd")))
    add(.closeDescriptors)
    if !process.terminal { try addStdio() }
    if isConfined { add(.setLabel(kind: .apparmor, label: process.apparmorProfile)) }
    if !process.selinuxLabel.isEmpty { add(.setLabel(kind: .selinux, label: process.selinuxLabel)) }
    if let entersUsers { add(entersUsers) }
    let sets = process.capabilities
    add(.limitCapabilities(mask(sets.bounding, "bounding")))
    // Without no-new-privileges a filter takes CAP_SYS_ADMIN, which the process is about to lose.
    if !process.noNewPrivileges { addFilter() }
    guard user.uid < 0xffff_ffff, user.gid < 0xffff_ffff else {
      throw PlanError("process.user", "4294967295 is no user or group")
    }
    add(.setGroups(user.additionalGroups.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }))
    add(.setIDs(uid: user.uid, gid: user.gid, keepsCapabilities: user.uid != 0))
    let permitted = mask(sets.permitted, "permitted")
    // Inheritable ones are those that are ambient and no others (CVE-2022-24769): the kernel wants them so.
    let ambient = mask(sets.ambient, "ambient")
    guard ambient & ~permitted == 0 else {
      throw PlanError("process.capabilities.ambient", "an ambient capability must be a permitted one as well")
    }
    add(
      .setCapabilities(
        effective: mask(sets.effective, "effective") & permitted, permitted: permitted, ambient: ambient))
    if process.noNewPrivileges {
      add(.forbidNewPrivileges)
      addFilter()
    }
    try addProgram()
  }

  /// Pipes belong to whom the program runs as, so that it can open them again by /dev/stdout.
  private mutating func addStdio() throws(PlanError) {
    let user = process.user
    if let users {
      let uid = try users.hostUser(user.uid, field: "process.user")
      add(.ownStdio(uid: uid, gid: try users.hostGroup(user.gid, field: "process.user")))
    } else if user.uid != 0 || user.gid != 0 {
      add(.ownStdio(uid: user.uid, gid: user.gid))
    }
  }

  private mutating func addFilter() {
    if let seccompProgram { add(.filterSystemCalls(program: seccompProgram, flags: 0)) }
  }

  private mutating func mask(_ names: [String], _ set: String) -> UInt64 {
    var mask: UInt64 = 0
    for name in names {
      if let number = Capability.number(name) {
        mask |= 1 << UInt64(number)
      } else {
        warnings.append("\(set) capability \(name) is unknown and not given")
      }
    }
    return mask
  }

  private static let limitNumbers: [String: UInt32] = [
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
  ]

  private mutating func addLimits() throws(PlanError) {
    var seen: Set<String> = []
    for limit in process.resourceLimits {
      guard let number = Self.limitNumbers[limit.type] else {
        throw PlanError("process.rlimits", "\(limit.type) is no limit that the kernel has")
      }
      guard seen.insert(limit.type).inserted else { throw PlanError("process.rlimits", "\(limit.type) stands twice") }
      guard limit.soft <= limit.hard else {
        throw PlanError("process.rlimits", "\(limit.type): soft \(limit.soft) is more than hard \(limit.hard)")
      }
      add(.setResourceLimit(name: limit.type, number: number, soft: limit.soft, hard: limit.hard))
    }
  }

  private static let defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

  private mutating func addProgram() throws(PlanError) {
    guard let program = process.arguments.first, !program.isEmpty else {
      throw PlanError("process.args", "there is no program to run")
    }
    for (field, texts) in [("process.args", process.arguments), ("process.env", process.environment)] {
      for text in texts where text.utf8.contains(0) { throw PlanError(field, "text with a NUL in it") }
    }
    let bytes = (process.arguments + process.environment).reduce(0) { $0 + $1.utf8.count + 1 }
    guard bytes <= Plan.argumentBytesMax else {
      throw PlanError("process.args", "arguments and environment of \(bytes) bytes, more than \(Plan.argumentBytesMax)")
    }
    var candidates = [program]
    if !program.contains("/") {
      let entry = process.environment.last { $0.hasPrefix("PATH=") }
      let path = entry.map { String($0.dropFirst(5)) } ?? Self.defaultPath
      candidates = path.split(separator: ":", omittingEmptySubsequences: false).map {
        $0.isEmpty ? "./\(program)" : $0.hasSuffix("/") ? "\($0)\(program)" : "\($0)/\(program)"
      }
    }
    add(.execute(candidates: candidates, arguments: process.arguments, environment: process.environment))
  }
}

extension Plan {
  static let argumentBytesMax = 2 << 20
}
