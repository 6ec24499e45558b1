import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf
import TestSupport
import Testing

/// A container that cannot be had: what is wrong with it, when that is said, and how.
struct BadContainer: Sendable, CustomTestStringConvertible {
  var name: String
  var change: @Sendable (inout CRIContainerConfig) -> Void
  var code: CRIError.Code
  var message: String

  var testDescription: String { name }

  init(
    _ name: String, _ code: CRIError.Code, _ message: String,
    change: @escaping @Sendable (inout CRIContainerConfig) -> Void
  ) {
    self.name = name
    self.change = change
    self.code = code
    self.message = message
  }

  static let all: [BadContainer] = [
    BadContainer("unknown user", .invalidArgument, "there is no user nobody9 in the image's /etc/passwd") {
      $0.linux.securityContext.runAsUsername = "nobody9"
    },
    BadContainer("user beyond the range", .invalidArgument, "run_as_user: 4294967296 is not between 0 and") {
      $0.linux.securityContext.runAsUser.value = 4_294_967_296
    },
    BadContainer("user that looks like a number", .invalidArgument, "+0") {
      $0.linux.securityContext.runAsUsername = "+0"
    },
    BadContainer("group without user", .invalidArgument, "run_as_group: needs run_as_user or run_as_username") {
      $0.linux.securityContext.runAsGroup.value = 5
    },
    BadContainer("missing program", .internalError, "execute /bin/missing: ENOENT (2)") {
      $0.command = ["/bin/missing"]
    },
    BadContainer("program that is none", .internalError, "execute /bin/text: EACCES (13)") {
      $0.command = ["/bin/text"]
    },
    BadContainer("missing mount source", .invalidArgument, "mounts[0].host_path: /no/such: does not exist") {
      $0.mounts = [
        CRIMount.with {
          $0.hostPath = "/no/such"
          $0.containerPath = "/mnt"
        }
      ]
    },
    BadContainer("relative mount point", .invalidArgument, "mounts[0].container_path: mnt: must be absolute") {
      $0.mounts = [
        CRIMount.with {
          $0.hostPath = "/tmp"
          $0.containerPath = "mnt"
        }
      ]
    },
    BadContainer("missing image", .notFound, "localhost/none:1") { $0.image.image = "localhost/none:1" },
    BadContainer("log outside", .invalidArgument, "log_path: ../x: must be relative and without ..") {
      $0.logPath = "../x"
    },
    BadContainer("working directory", .invalidArgument, "working_dir: here: must be absolute") {
      $0.workingDir = "here"
    },
    BadContainer("unknown capability", .invalidArgument, "add_capabilities: FLY: there is no such capability") {
      $0.linux.securityContext.capabilities.addCapabilities = ["FLY"]
    },
    BadContainer("ambient capability", .invalidArgument, "SYS_ADMIN: the container does not have it at all") {
      $0.linux.securityContext.capabilities.addAmbientCapabilities = ["SYS_ADMIN"]
    },
    BadContainer("user namespace", .invalidArgument, "userns_options.uids: has 0 mappings, one is needed") {
      $0.linux.securityContext.namespaceOptions.usernsOptions.mode = .pod
    },
    BadContainer("SELinux", .unimplemented, "SELinux labels are not supported") {
      $0.linux.securityContext.selinuxOptions.type = "spc_t"
    },
    BadContainer("AppArmor", .unimplemented, "AppArmor profiles are not supported") {
      $0.linux.securityContext.apparmor.profileType = .localhost
    },
    BadContainer("CDI device", .invalidArgument, "CDI_devices[0].name: martlet.test/none=0: no document in ") {
      $0.cdiDevices = [CRICDIDevice.with { $0.name = "martlet.test/none=0" }]
    },
    BadContainer("privileged", .invalidArgument, "privileged: its pod sandbox is not privileged") {
      $0.linux.securityContext.privileged = true
    },
    BadContainer("network of the node", .invalidArgument, "namespace_options.network: its pod sandbox has pod") {
      $0.linux.securityContext.namespaceOptions.network = .node
    },
    BadContainer("target that is none", .notFound, "there is no such container") {
      $0.linux.securityContext.namespaceOptions.pid = .target
      $0.linux.securityContext.namespaceOptions.targetID = "none"
    },
    BadContainer("seccomp file", .invalidArgument, "localhost_ref: /no/such: ") {
      $0.linux.securityContext.seccomp.profileType = .localhost
      $0.linux.securityContext.seccomp.localhostRef = "/no/such"
    },
    BadContainer("device that is none", .invalidArgument, "devices[0].host_path: /dev/none: no device is there") {
      $0.devices = [CRIDevice.with { $0.hostPath = "/dev/none" }]
    },
    BadContainer("unified key", .invalidArgument, "cgroup.procs") {
      $0.linux.resources.unified = ["cgroup.procs": "1"]
    },
    BadContainer("CPU list", .invalidArgument, "cpuset_cpus: 0;1: a list like 0-3,7 is needed") {
      $0.linux.resources.cpusetCpus = "0;1"
    },
    BadContainer("environment", .invalidArgument, "envs[0]") { $0.envs = [CRIKeyValue.with { $0.key = "A=B" }] },
    BadContainer("signal-less name", .invalidArgument, "metadata.name: is empty") { $0.metadata.name = "" },
  ]
}

/// A pod sandbox that cannot be had.
struct BadPod: Sendable, CustomTestStringConvertible {
  var name: String
  var code: CRIError.Code
  var message: String
  var change: @Sendable (inout CRIPodSandboxConfig) -> Void
  var testDescription: String { name }

  static let all: [BadPod] = [
    BadPod(name: "host's sysctl", code: .invalidArgument, message: "kernel.core_pattern") {
      $0.linux.sysctls = ["kernel.core_pattern": "|/bin/sh"]
    },
    BadPod(name: "sysctl with a newline", code: .invalidArgument, message: "must be one line") {
      $0.linux.sysctls = ["net.ipv4.ip_forward": "1\nkernel.core_pattern=x"]
    },
    BadPod(name: "host name", code: .invalidArgument, message: "config.hostname") { $0.hostname = "a\nb" },
    BadPod(name: "name server", code: .invalidArgument, message: "config.dns_config.servers") {
      $0.dnsConfig.servers = ["1.1.1.1\nsearch evil"]
    },
    BadPod(name: "log directory", code: .invalidArgument, message: "config.log_directory") {
      $0.logDirectory = "/var/log/../../etc"
    },
    BadPod(name: "cgroup parent", code: .invalidArgument, message: "without . or ..") {
      $0.linux.cgroupParent = "/a/../b"
    },
    BadPod(name: "systemd slice", code: .unimplemented, message: "use the cgroupfs driver") {
      $0.linux.cgroupParent = "kubepods.slice"
    },
    BadPod(name: "port", code: .invalidArgument, message: "port_mappings[0].host_port: 70000 is no port") {
      $0.portMappings = [
        CRIPortMapping.with {
          $0.hostPort = 70000
          $0.containerPort = 80
        }
      ]
    },
    BadPod(name: "nameless", code: .invalidArgument, message: "config.metadata.name") { $0.metadata.name = "" },
  ]
}

@Suite struct CRIRefusalTests {
  /// One node for all: each refusal must leave it as it was.
  @Test func everyBadContainerIsRefusedByNameAndLeavesNothing() async throws {
    try await CRINode.with { node, client in
      let config = node.pod("bad")
      let pod = try await client.runPodSandbox(config)
      for bad in BadContainer.all {
        var container = node.container("main", ["sleep", "1000"])
        bad.change(&container)
        let error = await #expect(throws: CRIError.self, "\(bad.name)") {
          try await node.run(client, in: pod, config, container)
        }
        #expect(error?.code == bad.code, "\(bad.name): \(String(describing: error))")
        #expect(error?.message.contains(bad.message) == true, "\(bad.name): \(String(describing: error))")
        // What could not start is there to be looked at, and gone when removed.
        for left in try await client.listContainers() {
          #expect(left.state == .containerExited, "\(bad.name)")
          #expect(try await client.containerStatus(left.id).status.reason == "StartError")
          try await client.removeContainer(left.id)
        }
        #expect(try Directory(path: "\(node.path)/root/containers").list().isEmpty, "\(bad.name)")
        #expect(try Directory(path: "\(node.podsDirectory)/\(pod)/containers").list().isEmpty, "\(bad.name)")
      }
      let id = try await node.run(client, in: pod, config, node.container("main", ["sleep", "1000"]))
      #expect(try await client.execSync(id, command: ["true"]).exitCode == 0, "the pod is none the worse")
    }
  }

  @Test func everyBadPodIsRefusedByNameAndLeavesNothing() async throws {
    try await CRINode.with { node, client in
      for bad in BadPod.all {
        var config = node.pod("bad")
        bad.change(&config)
        let asked = config
        let error = await #expect(throws: CRIError.self, "\(bad.name)") { try await client.runPodSandbox(asked) }
        #expect(error?.code == bad.code, "\(bad.name): \(String(describing: error))")
        #expect(error?.message.contains(bad.message) == true, "\(bad.name): \(String(describing: error))")
        try node.expectNothingLeftOfPods()
      }
      let handler = await #expect(throws: CRIError.self) {
        try await client.runPodSandbox(node.pod("kata"), runtimeHandler: "kata")
      }
      #expect(handler?.message.contains("runtime_handler: kata: the only handler is the default one") == true)
    }
  }

  @Test func aLimitIsSetOrRefusedByTheNameOfItsController() async throws {
    try await CRINode.with(missingControllers: "error") { node, client in
      let config = node.pod("limits")
      let pod = try await client.runPodSandbox(config)
      var container = node.container("main", ["sleep", "1000"])
      container.linux.resources.memoryLimitInBytes = 64 << 20
      if try CgroupHierarchy.discover().controllers.contains("memory") {
        let id = try await node.run(client, in: pod, config, container)
        #expect(try await client.containerStats(id).memory.availableBytes.value <= 64 << 20)
      } else {
        let asked = container
        let error = await #expect(throws: CRIError.self) { try await node.run(client, in: pod, config, asked) }
        #expect(error?.code == .unimplemented)
        let message = "memory.max = 67108864 needs the cgroup v2 controller memory, which this node lacks"
        #expect(error?.message.contains(message) == true, "\(String(describing: error))")
        #expect(error?.message.contains("missing-controllers = \"warn\"") == true)
      }
    }
  }

  @Test func whatIsNotThereIsNotFound() async throws {
    try await CRINode.with { _, client in
      let none = String(repeating: "0", count: 64)
      let pod = await #expect(throws: CRIError.self) { try await client.podSandboxStatus(none) }
      #expect(pod?.code == .notFound)
      let container = await #expect(throws: CRIError.self) { try await client.startContainer(none) }
      #expect(container?.code == .notFound)
      #expect(container?.message.contains("there is no such container") == true)
    }
  }

  @Test(arguments: [
    ("colour = 1\n", "colour: is not a key that martletd knows"),
    ("[network]\nmtu = \"x\"\n", "network.mtu: must be an integer from 576 to 65535"),
    ("version = 2\n", "version 2 is not known; this daemon reads version 1"),
    ("missing-controllers = \"maybe\"\n", "missing-controllers: \"error\" or \"warn\""),
    ("a = \n", "line 1"),
  ])
  func aMistakeInTheConfigurationIsNamed(text: String, message: String) async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let path = "\(directory.path)/config.toml"
    try Files.writeAtomically(path, Array(text.utf8))
    let outcome = try await ChildProcess.run(
      try BuiltPrograms.path("martletd"), arguments: ["martletd", "config", "check", path])
    #expect(outcome.status != .exited(0))
    #expect(String(decoding: outcome.errorOutput, as: UTF8.self).contains(message))
  }

  @Test func theDefaultConfigurationReadsBackAsItself() async throws {
    let directory = try TestDirectory()
    defer { try? directory.remove() }
    let martletd = try BuiltPrograms.path("martletd")
    let printed = try await ChildProcess.run(martletd, arguments: ["martletd", "config", "default"])
    let path = "\(directory.path)/config.toml"
    try Files.writeAtomically(path, printed.output)
    let checked = try await ChildProcess.run(martletd, arguments: ["martletd", "config", "check", path])
    #expect(checked.status == .exited(0))
    #expect(checked.output == printed.output)
  }
}
