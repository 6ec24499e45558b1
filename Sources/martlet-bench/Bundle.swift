import JSON
import Kernel

/// An OCI bundle of the `true` image, with what a CRI server gives a container by default: the same value is compiled by
/// Martlet and read from disk by crun and runc.
struct Bundle {
  let directory: String
  let configuration: JSONValue

  var root: String { "\(directory)/rootfs" }

  /// - Parameters:
  ///   - seccomp: a profile in the form of `linux.seccomp`.
  ///   - capabilities: names, for the bounding, effective and permitted sets.
  static func make(
    in directory: String, program: String, cgroupPath: String, seccomp: JSONValue, capabilities: [String]
  ) throws -> Bundle {
    for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
      try Files.makeDirectories("\(directory)/rootfs/\(folder)", mode: 0o755)
    }
    try Files.writeAtomically("\(directory)/rootfs/bin/true", try Files.read(program), mode: 0o755)
    let configuration = configuration(cgroupPath: cgroupPath, seccomp: seccomp, capabilities: capabilities)
    try Files.writeAtomically("\(directory)/config.json", configuration.encoded(pretty: true), mode: 0o644)
    return Bundle(directory: directory, configuration: configuration)
  }

  private static func configuration(cgroupPath: String, seccomp: JSONValue, capabilities: [String]) -> JSONValue {
    let names = JSONValue(capabilities)
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
        "seccomp": seccomp,
        "maskedPaths": JSONValue(maskedPaths),
        "readonlyPaths": JSONValue(readonlyPaths),
      ],
    ]
  }

  static let readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

  static let maskedPaths = [
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
    "/sys/firmware",
  ]

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
