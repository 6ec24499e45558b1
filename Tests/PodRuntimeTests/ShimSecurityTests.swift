import ContainerPlan
import Kernel
import OCISpec
import PodRuntime
import TestSupport
import Testing

@Suite(.serialized) struct ShimSecurityTests {
  static func secured(_ world: ShimWorld, _ script: String) throws -> (RuntimeSpec, SandboxContext) {
    var spec = world.specification(script)
    let profile = SeccompTemplate.standard.profile(capabilities: spec.process.capabilities.bounding)
    spec.linux.seccomp = profile
    var context = ShimWorld.context
    context.seccompProgram = try SeccompPrograms(directory: nil).program(profile)
    return (spec, context)
  }

  @Test func theDefaultFilterIsOnAndStopsWhatItShould() async throws {
    try await ShimWorld.run { world in
      let (spec, context) = try Self.secured(
        world, "grep Seccomp: /proc/self/status; unshare -m true 2>&1; mount -t tmpfs x /tmp 2>&1; echo $?; echo ok")
      let (exit, lines) = try await world.run("c1", spec, context: context)
      #expect(exit.status == .exited(0))
      #expect(lines.first == "stdout F Seccomp:\t2")
      #expect(lines.contains { $0.contains("unshare") && $0.contains("Operation not permitted") })
      #expect(lines.last == "stdout F ok")
    }
  }

  @Test func theFilterIsOnAlsoWhereNewPrivilegesAreAllowed() async throws {
    try await ShimWorld.run { world in
      var (spec, context) = try Self.secured(world, "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status")
      spec.process.noNewPrivileges = false
      spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1000)
      let (exit, lines) = try await world.run("c1", spec, context: context)
      #expect(exit.status == .exited(0))
      #expect(lines == ["stdout F NoNewPrivs:\t0", "stdout F Seccomp:\t2"])
    }
  }

  @Test func ambientCapabilitiesAreThoseAskedForAndAnOrdinaryUserHasThem() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output("grep -E 'Cap(Inh|Prm|Eff|Amb)' /proc/self/status") { spec in
        spec.process.user = RuntimeSpec.User(uid: 1000, gid: 1000)
        spec.process.capabilities.ambient = ["CAP_KILL"]
        spec.process.capabilities.inheritable = ["CAP_KILL"]
      }
      let mask = "0000000000000020"
      #expect(text == "CapInh:\t\(mask)\nCapPrm:\t\(mask)\nCapEff:\t\(mask)\nCapAmb:\t\(mask)")
    }
  }

  @Test func capabilitiesAreThoseAskedForAndNoneIsInheritable() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output("grep Cap /proc/self/status") { spec in
        spec.process.capabilities.inheritable = ["CAP_KILL"]
      }
      // KILL is 5, NET_BIND_SERVICE 10, AUDIT_WRITE 29.
      let mask = "0000000020000420"
      let zero = "0000000000000000"
      #expect(
        text == "CapInh:\t\(zero)\nCapPrm:\t\(mask)\nCapEff:\t\(mask)\nCapBnd:\t\(mask)\nCapAmb:\t\(zero)")
    }
  }

  @Test func anOrdinaryUserHasItsGroupsAndNoCapability() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output("id -u; id -g; id -G; grep CapEff /proc/self/status; umask; echo > /dev/stdout")
      {
        $0.process.user = RuntimeSpec.User(uid: 1000, gid: 1001, additionalGroups: [1001, 5, 7, 5])
      }
      #expect(text == "1000\n1001\n1001 5 7\nCapEff:\t0000000000000000\n0022\n")
    }
  }

  @Test func noDescriptorLeaksIntoTheContainer() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output("ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/cwd")
      // 3 is the directory that ls itself reads.
      #expect(text == "0 1 2 3 /")
    }
  }

  @Test(arguments: ["/proc/self/fd/3", "/proc/self/fd/7", "/proc/self/fd/10"])
  func aWorkingDirectoryThroughADescriptorIsRefused(_ path: String) async throws {
    try await ShimWorld.run { world in
      var spec = world.specification("pwd; ls /")
      spec.process.workingDirectory = path
      await #expect(throws: ShimError.self) { _ = try await world.start("c1", spec) }
    }
  }

  @Test func hiddenPathsAreHiddenAndReadOnlyOnesReadOnly() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output(
        """
        wc -c < /proc/timer_list; ls /proc/acpi /sys/firmware | wc -l; stat -c %t:%T /proc/timer_list
        (echo 1 > /proc/sys/kernel/domainname) 2>/dev/null || echo read-only
        (touch /sys/x) 2>/dev/null || echo read-only; (touch /proc/acpi/x) 2>/dev/null || echo read-only
        """)
      #expect(text == "0\n3\n1:3\nread-only\nread-only\nread-only")
    }
  }

  @Test(arguments: ["/dev", "/proc", "/sys"])
  func aLinkWhereTheKernelsFileSystemsGoIsRefusedAndNothingIsWrittenOutside(_ path: String) async throws {
    try await ShimWorld.run { world in
      let outside = "\(world.directory.path)/outside"
      try Files.makeDirectories(outside)
      try Files.removeTree("\(world.root)\(path)")
      try Files.symlink(outside, at: "\(world.root)\(path)")
      do {
        _ = try await world.start("c1", world.specification("true"))
        Issue.record("it started")
      } catch let error as ShimError {
        #expect(error.description.contains("ELOOP") && error.description.contains("symbolic link"))
      }
      #expect(try Directory(path: outside).list().isEmpty)
    }
  }

  @Test func linksOfTheImageStayInsideTheRootAndDanglingOnesAreMade() async throws {
    try await ShimWorld.run { world in
      try Files.writeAtomically("\(world.directory.path)/hosts", Array("pod hosts\n".utf8), mode: 0o644)
      let name = world.directory.token
      try Files.symlink("../../../../../var/\(name)/hosts", at: "\(world.root)/etc/hosts")
      var context = ShimWorld.context
      context.files = [
        SandboxContext.PodFile(hostPath: "\(world.directory.path)/hosts", containerPath: "/etc/hosts", isReadOnly: true)
      ]
      let (exit, lines) = try await world.run(
        "c1", world.specification("cat /etc/hosts; (echo x > /etc/hosts) 2>/dev/null || echo read-only"),
        context: context)
      #expect(exit.status == .exited(0))
      #expect(lines == ["stdout F pod hosts", "stdout F read-only"])
      #expect(!Files.exists("/var/\(name)"))
      #expect(Files.exists("\(world.root)/var/\(name)/hosts"))
    }
  }

  @Test func devicesThatTheRulesDoNotNameCannotBeOpened() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification(
        "mknod /tmp/mem c 1 1 && echo made; cat /tmp/mem 2>&1 | head -c 60; mknod /tmp/z c 1 5 && head -c 2 /tmp/z | wc -c"
      )
      spec.process.capabilities = RuntimeSpec.CapabilitySets(all: ["CAP_MKNOD"])
      spec.linux.deviceRules = [
        RuntimeSpec.DeviceRule(allow: false),
        RuntimeSpec.DeviceRule(allow: true, kind: .character, access: "m"),
        RuntimeSpec.DeviceRule(allow: true, kind: .character, major: 1, minor: 3),
        RuntimeSpec.DeviceRule(allow: true, kind: .character, major: 1, minor: 5),
      ]
      let (exit, lines) = try await world.run("c1", spec)
      #expect(exit.status == .exited(0))
      #expect(
        lines == [
          "stdout F made", "stdout F cat: can't open '/tmp/mem': Operation not permitted", "stdout F 2",
        ])
    }
  }

  @Test func aReadOnlyRootIsReadOnlyAndItsMountsAreNot() async throws {
    try await ShimWorld.run { world in
      let text = try await world.output("(touch /x) 2>/dev/null || echo read-only; touch /dev/shm/x && echo written") {
        $0.root.readonly = true
      }
      #expect(text == "read-only\nwritten")
    }
  }

  @Test func theShimIsNotToBeReachedThroughItsProcesses() async throws {
    try await ShimWorld.run({ $0.sharesProcessNamespace = true }) { world in
      var context = ShimWorld.context
      context.processNamespace = .pod
      var spec = world.specification(
        """
        ls -l /proc/1/exe 2>&1 | grep -c denied; ls /proc/1/root 2>&1 | grep -c denied; readlink /proc/1/fd/0 || echo none
        """)
      spec.process.capabilities = RuntimeSpec.CapabilitySets(all: RuntimeDefaults.capabilities)
      let (_, lines) = try await world.run("c1", spec, context: context)
      #expect(lines == ["stdout F 1", "stdout F 1", "stdout F none"])
    }
  }

  @Test func theShimsProgramCannotBeWrittenEvenByTheHostsRoot() async throws {
    try await ShimWorld.run { world in
      let writeOnly: Int32 = 1
      #expect(throws: SyscallError.self) {
        _ = try Files.open("/proc/\(world.shim.processID)/exe", flags: writeOnly)
      }
      let link = try Files.readLink("/proc/\(world.shim.processID)/exe")
      #expect(link.contains("memfd:martlet-shim"))
    }
  }

  @Test func aTerminalIsNotOpenedInAnImpostorOfDevpts() async throws {
    try await ShimWorld.run { world in
      var spec = world.specification(
        "umount /dev/pts; ln -s /tmp /tmp/ptmx; touch /dev/pts/ptmx; echo ready; exec sleep 60")
      spec.process.capabilities = RuntimeSpec.CapabilitySets(all: ["CAP_SYS_ADMIN"])
      _ = try await world.start("c1", spec)
      while try world.lines(of: "c1") != ["stdout F ready"] { try await Task.sleep(for: .milliseconds(5)) }
      var process = spec.process
      process.terminal = true
      process.arguments = ["tty"]
      do {
        _ = try await world.shim.exec("c1", plan: try Plan.exec(process, seccompProgram: nil))
        Issue.record("it got a terminal")
      } catch let error as ShimError {
        #expect(error.description.contains("ENODEV") && error.description.contains("devpts"))
      }
    }
  }

  @Test(arguments: ["/proc", "/proc/self", "/proc/1"])
  func aFakeProcfsGetsNothingOfWhatIsWrittenToTheRealOne(_ path: String) async throws {
    try await ShimWorld.run { world in
      let fakes = ["oom_score_adj", "self/oom_score_adj"].map { "\(world.directory.path)/fake/\($0)" }
      try Files.makeDirectories("\(world.directory.path)/fake/self", mode: 0o755)
      for fake in fakes { try Files.writeAtomically(fake, [], mode: 0o666) }
      var spec = world.specification("exec sleep 60")
      spec.process.oomScoreAdjust = 400
      spec.mounts.append(
        RuntimeSpec.Mount(
          destination: path, type: "bind", source: "\(world.directory.path)/fake", options: ["rbind"]))
      // It may be refused; where it starts, the real value is set.
      if let processID = try? await world.start("c1", spec) {
        #expect(try Files.readText("/proc/\(processID)/oom_score_adj") == "400\n")
      }
      for fake in fakes { #expect(try Files.readText(fake) == "") }
    }
  }

  @Test func aMountTargetThatIsSwappedForALinkMeanwhileNeverLeadsOutside() async throws {
    try await ShimWorld.run { world in
      let outside = "\(world.directory.path)/outside"
      try Files.makeDirectories(outside)
      try Files.makeDirectories("\(world.directory.path)/source", mode: 0o755)
      try Files.makeDirectories("\(world.root)/race", mode: 0o755)
      try Files.symlink(outside, at: "\(world.root)/link")
      let swapper = Task.detached {
        while !Task.isCancelled {
          try? Files.rename("\(world.root)/race", to: "\(world.root)/aside")
          try? Files.rename("\(world.root)/link", to: "\(world.root)/race")
          try? Files.rename("\(world.root)/race", to: "\(world.root)/link")
          try? Files.rename("\(world.root)/aside", to: "\(world.root)/race")
          await Task.yield()
        }
      }
      for index in 0..<40 {
        var spec = world.specification("true")
        spec.mounts.append(
          RuntimeSpec.Mount(
            destination: "/race/made", type: "bind", source: "\(world.directory.path)/source", options: ["rbind"]))
        // Whether it starts depends on who was faster; where it mounts does not.
        if (try? await world.start("c\(index)", spec)) != nil {
          _ = try await world.exit(of: "c\(index)")
          try await world.shim.forget("c\(index)")
        }
      }
      swapper.cancel()
      await swapper.value
      #expect(try Directory(path: outside).list().isEmpty)
    }
  }
}
