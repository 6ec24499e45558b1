import JSON
import Kernel
import OCISpec

/// An OCI bundle of the `true` image, with what a CRI server gives a container by default: the same value is compiled by
/// Martlet and read from disk by crun and runc.
struct Bundle {
  let directory: String
  let configuration: JSONValue

  var root: String { "\(directory)/rootfs" }

  static func make(in directory: String, program: String, cgroupPath: String) throws -> Bundle {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
      try Files.makeDirectories("\(directory)/rootfs/\(folder)", mode: 0o755)
    }
    try Files.writeAtomically("\(directory)/rootfs/bin/true", try Files.read(program), mode: 0o755)
    let configuration = configuration(cgroupPath: cgroupPath)
    try Files.writeAtomically("\(directory)/config.json", configuration.encoded(pretty: true), mode: 0o644)
    return Bundle(directory: directory, configuration: configuration)
  }

  private static func configuration(cgroupPath: String) -> JSONValue {
    let names = JSONValue(RuntimeDefaults.capabilities)
    return [
      "ociVersion": "1.0.2",
      "root": ["path": "rootfs", "readonly": false],
      "process": [
        "terminal": false,
        "user": ["uid": 0, "gid": 0],
        "args": ["/bin/true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": ["bounding": names, "effective": names, "permitted": names],
        "noNewPrivileges": true,
      ],
      "mounts": mounts,
      "linux": [
        // The pod's other namespaces are the caller's, for all contenders alike.
        "namespaces": [["type": "pid"], ["type": "mount"], ["type": "cgroup"]],
        "cgroupsPath": .string(cgroupPath),
        "seccomp": seccomp(SeccompTemplate.standard.profile(capabilities: RuntimeDefaults.capabilities)),
        "maskedPaths": JSONValue(RuntimeDefaults.maskedPaths),
        "readonlyPaths": JSONValue(RuntimeDefaults.readonlyPaths),
      ],
    ]
  }

  /// A profile as `linux.seccomp` of the runtime specification has it.
  private static func seccomp(_ profile: RuntimeSpec.Seccomp) -> JSONValue {
    var value: JSONObject = [
      "defaultAction": .string(profile.defaultAction.rawValue), "architectures": JSONValue(profile.architectures),
    ]
    if let errno = profile.defaultErrno { value["defaultErrnoRet"] = .integer(Int64(errno)) }
    value["syscalls"] = .array(
      profile.rules.map { rule in
        var entry: JSONObject = ["names": JSONValue(rule.names), "action": .string(rule.action.rawValue)]
        if let errno = rule.errno { entry["errnoRet"] = .integer(Int64(errno)) }
        if !rule.arguments.isEmpty { entry["args"] = .array(rule.arguments.map(argument)) }
        return .object(entry)
      })
    return .object(value)
  }

  private static func argument(_ argument: RuntimeSpec.Seccomp.Argument) -> JSONValue {
    [
      "index": .integer(Int64(argument.index)), "value": .integer(Int64(bitPattern: argument.value)),
      "valueTwo": .integer(Int64(bitPattern: argument.valueTwo)), "op": .string(argument.comparison.rawValue),
    ]
  }

  private static var mounts: JSONValue {
    [
      mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
      mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
      mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
      mount("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
      mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
      mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
      mount("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
  }

  private static func mount(_ destination: String, _ type: String, _ options: [String]) -> JSONValue {
    [
      "destination": .string(destination), "type": .string(type), "source": .string(type),
      "options": JSONValue(options),
    ]
  }
}
