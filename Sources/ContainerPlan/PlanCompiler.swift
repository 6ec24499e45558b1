package import OCISpec

extension Plan {
  /// Compiles a container's specification.
  /// - Throws: `PlanError` naming the field that cannot be done.
  package static func container(
    _ spec: RuntimeSpec, root: RootFilesystem, context: SandboxContext
  ) throws(PlanError) -> Plan {
    try refuseUnsupported(spec)
    let users = try UserMappings.asked(by: spec)
    var compiler = PlanCompiler(spec: spec, context: context, users: users)
    compiler.add(.startSession)
    compiler.add(.setOutOfMemoryScore(try outOfMemoryScore(spec.process.oomScoreAdjust ?? 0)))
    try compiler.prepareRoot(root)
    try compiler.prepareMounts()
    compiler.enter()
    try compiler.attachMounts()
    try compiler.addNodes()
    try compiler.attachPodFiles()
    try compiler.protectPaths()
    compiler.finishRoot()
    var process = ProcessCompiler(process: spec.process, seccompProgram: context.seccompProgram, users: users)
    if users != nil { process.entersUsers = .enterUserNamespace }
    try process.checkLabels(context)
    try process.checkSeccomp(spec.linux.seccomp)
    if spec.process.terminal {
      guard let devpts = compiler.devptsSlot else {
        throw PlanError("process.terminal", "needs a devpts mount at /dev/pts")
      }
      try process.addTerminal(devpts: devpts, dev: compiler.devSlot)
    }
    process.operations.append(.enterRoot)
    try process.addNames(spec: spec, context: context)
    // Before it is anybody else: what waits belongs to nobody but the shim.
    process.operations.append(.waitForStart)
    try process.addProcess()
    var plan = Plan(operations: compiler.operations + process.operations)
    plan.processNamespace = context.processNamespace
    plan.hasTerminal = spec.process.terminal
    plan.deviceRules = spec.linux.deviceRules
    plan.warnings = process.warnings
    return try checked(plan)
  }

  /// Compiles a process to run in a container that runs already: no mounts, one clone.
  /// - Parameters:
  ///   - seccompProgram: the container's own.
  ///   - users: of the container's user namespace, where it has one.
  package static func exec(
    _ process: RuntimeSpec.Process, seccompProgram: [UInt8]?, users: UserMappings? = nil
  ) throws(PlanError) -> Plan {
    var compiler = ProcessCompiler(process: process, seccompProgram: seccompProgram, users: users)
    // After the limits, for which a process needs the privileges that it leaves behind.
    if users != nil { compiler.entersUsers = .join(.user) }
    compiler.operations.append(.startSession)
    compiler.operations.append(.setOutOfMemoryScore(try outOfMemoryScore(process.oomScoreAdjust ?? 0)))
    compiler.operations.append(.join([.mount, .cgroup]))
    if process.terminal { try compiler.addTerminal(devpts: nil, dev: nil) }
    try compiler.addProcess()
    var plan = Plan(operations: compiler.operations)
    plan.hasTerminal = process.terminal
    plan.warnings = compiler.warnings
    return try checked(plan)
  }

  private static func outOfMemoryScore(_ score: Int) throws(PlanError) -> Int {
    guard (-1000...1000).contains(score) else {
      throw PlanError("process.oomScoreAdj", "\(score) is not between -1000 and 1000")
    }
    return score
  }

  private static func refuseUnsupported(_ spec: RuntimeSpec) throws(PlanError) {
    for namespace in spec.linux.namespaces where namespace.kind == .time {
      throw PlanError("linux.namespaces", "a \(namespace.kind.rawValue) namespace is not supported")
    }
    for device in spec.linux.devices where !device.path.hasPrefix("/") {
      throw PlanError("linux.devices", "\(device.path) is not absolute")
    }
  }

  private static func checked(_ plan: Plan) throws(PlanError) -> Plan {
    guard plan.operations.count <= Plan.operationsMax else {
      throw PlanError("mounts", "\(plan.operations.count) steps to take, more than \(Plan.operationsMax)")
    }
    return plan
  }
}

/// Whether a path is absolute and stays what it says: no NUL, no `..`.
func checkedPath(_ path: String, field: String) throws(PlanError) -> String {
  if isPlain(path) { return path }
  guard path.hasPrefix("/"), !path.utf8.contains(0), path.utf8.count < 4096 else {
    throw PlanError(field, "\"\(path)\" is not an absolute path")
  }
  let components = path.split(separator: "/")
  guard !components.contains("..") else { throw PlanError(field, "\(path) leads out through ..") }
  return "/" + components.filter { $0 != "." }.joined(separator: "/")
}

/// Whether a path is what `checkedPath` would make of it at once, as nearly all are: a look at each byte instead of a
/// list of components.
private func isPlain(_ path: String) -> Bool {
  var last: UInt8 = 0
  var count = 0
  for byte in path.utf8 {
    // What starts with a dot is looked at more closely.
    if byte == 0 || (last == UInt8(ascii: "/") && (byte == UInt8(ascii: "/") || byte == UInt8(ascii: "."))) {
      return false
    }
    if count == 0, byte != UInt8(ascii: "/") { return false }
    last = byte
    count += 1
  }
  return count > 0 && count < 4096 && (count == 1 || last != UInt8(ascii: "/"))
}
