internal import JSON
internal import Kernel
internal import Logging

/// What a start found of earlier daemons.
package struct RecoveryReport: Sendable {
  /// Pods that go on.
  package var adopted: [String] = []
  /// Pods whose shim or network is gone: they can be stopped and removed.
  package var broken: [String] = []
  /// Pods that were half made, taken down.
  package var undone: [String] = []
  /// Pods of an earlier boot, removed.
  package var ghosts: [String] = []
  /// Records that could not be read; what belonged to them was ended and the files kept in `<run>/bad`.
  package var setAside: [RecordError] = []
  /// Writable layers that belonged to nobody, removed.
  package var strays = 0
}

extension Runtime {
  /// Finds every pod, container, shim, cgroup and network of earlier daemons again, finishes or undoes what was half done,
  /// and removes what belongs to nobody. Call once, before serving.
  package func recover() async throws(RuntimeError) -> RecoveryReport {
    var report = RecoveryReport()
    let read = try await readPods(&report)
    let found = await connect(read)
    let networked = found.filter { $0.record.config.network == .pod && $0.state != nil && $0.state?.phase != .stopped }
    let networkProblems: [String: String]
    do {
      networkProblems = try await environment.hooks.network.start(Set(networked.map(\.record.id)))
    } catch {
      throw RuntimeError.wrap(error, stage: "start pod network", subject: "")
    }
    var known: Set<String> = []
    for pod in found {
      let recovery = SandboxRecovery(
        state: pod.state, shimAnswers: pod.shim != nil, networkProblem: networkProblems[pod.record.id])
      switch (recovery.machine.phase, recovery.event) {
      case (.making, _): report.undone.append(pod.record.id)
      case (.notReady, _), (_, .some): report.broken.append(pod.record.id)
      default: report.adopted.append(pod.record.id)
      }
      known.formUnion(pod.containers.map(\.record.id))
      let sandbox = newActor(pod.record, recovery.machine)
      insert(sandbox)
      await sandbox.restore(pod, recovery)
    }
    report.strays = try await removeStrays(known)
    return report
  }

  private func readPods(_ report: inout RecoveryReport) async throws(RuntimeError) -> [FoundPod] {
    let pods = environment.configuration.podsDirectory
    let entries: [Directory.Entry]
    do throws(SyscallError) { entries = try Directory(path: pods).list() } catch {
      throw RuntimeError(.failed, stage: "list pods", subject: pods, cause: error)
    }
    var found: [FoundPod] = []
    for entry in entries where entry.kind == .directory {
      let directory = "\(pods)/\(entry.name)"
      do {
        guard Files.exists("\(directory)/record.json") else {
          // Making had not written anything yet, or removing had only the files left.
          try await discard(directory)
          continue
        }
        let record = try SandboxRecord(readJSON("\(directory)/record.json"), path: "\(directory)/record.json")
        guard record.id == entry.name else {
          throw RecordError(path: directory, problem: "says that it is of sandbox \(record.id)")
        }
        if record.bootID != environment.bootID {
          report.ghosts.append(record.id)
          environment.madeGroups.note(record.madeGroups)
          try await discard(directory)
          continue
        }
        found.append(try await readPod(record, directory, &report))
      } catch {
        let problem = error as? RecordError ?? RecordError(path: directory, problem: "\(error)")
        report.setAside.append(problem)
        await setAside(entry.name, problem)
      }
    }
    return found
  }

  private func readPod(
    _ record: SandboxRecord, _ directory: String, _ report: inout RecoveryReport
  ) async throws -> FoundPod {
    var pod = FoundPod(record: record)
    if Files.exists("\(directory)/state.json") {
      pod.state = try SandboxState(readJSON("\(directory)/state.json"), path: "\(directory)/state.json")
    }
    for entry in try Directory(path: "\(directory)/containers").list() where entry.kind == .directory {
      let inner = "\(directory)/containers/\(entry.name)"
      do {
        guard Files.exists("\(inner)/record.json") else {
          try await discard(inner)
          continue
        }
        let record = try ContainerRecord(readJSON("\(inner)/record.json"), path: "\(inner)/record.json")
        guard record.id == entry.name else {
          throw RecordError(path: inner, problem: "says that it is of container \(record.id)")
        }
        var container = FoundContainer(record: record)
        if Files.exists("\(inner)/state.json") {
          container.state = try ContainerState(readJSON("\(inner)/state.json"), path: "\(inner)/state.json")
        }
        pod.containers.append(container)
      } catch {
        let problem = error as? RecordError ?? RecordError(path: inner, problem: "\(error)")
        report.setAside.append(problem)
        await endGroup(record.cgroupPath + "/" + entry.name)
        moveAside(inner, entry.name, problem)
      }
    }
    return pod
  }

  private func readJSON(_ path: String) throws -> JSONValue {
    do {
      return try JSONValue.parse(try Files.read(path, maxBytes: RuntimeBounds.recordBytesMax))
    } catch {
      throw RecordError(path: path, problem: "\(error)")
    }
  }

  private func discard(_ directory: String) async throws(SyscallError) {
    try await onFreshThread { () throws(SyscallError) in try Files.removeTree(directory) }
  }

  /// Ends what belongs to a record that cannot be used, and keeps its files for whoever wants to know.
  private func setAside(_ id: String, _ problem: RecordError) async {
    let directory = "\(environment.configuration.podsDirectory)/\(id)"
    if let shim = try? await Shim.connect(podID: id, directory: directory) { try? await shim.shutdown() }
    for path in groups(named: id) { await endGroup(path) }
    moveAside(directory, id, problem)
  }

  private func moveAside(_ directory: String, _ id: String, _ problem: RecordError) {
    let bad = "\(environment.configuration.runDirectory)/bad"
    environment.log.error(
      "a record is set aside", metadata: ["record": "\(id)", "problem": "\(problem)", "in": "\(bad)"])
    do {
      try Files.makeDirectories(bad)
      try Files.rename(directory, to: "\(bad)/\(id).\(SystemClock.wallNanoseconds)")
    } catch {
      environment.log.error("setting a record aside failed", metadata: ["record": "\(id)", "error": "\(error)"])
    }
  }

  private func endGroup(_ path: String) async {
    do {
      let group = environment.hierarchy.group(try CgroupPath(path))
      try await onFreshThread { () throws(CgroupError) in
        try group.killAndRemove(milliseconds: RuntimeBounds.killWaitMilliseconds)
      }
    } catch {
      environment.log.error("a cgroup is left", metadata: ["cgroup": "\(path)", "error": "\(error)"])
    }
  }

  /// Where the record that would say it is lost, the name of a group still tells whose it was.
  private func groups(named id: String) -> [String] {
    var found: [String] = []
    var open = [""]
    while let path = open.popLast() {
      guard let entries = try? Directory(path: environment.hierarchy.mountPoint + path).list() else { continue }
      for entry in entries where entry.kind == .directory {
        if entry.name == id { found.append("\(path)/\(id)") } else { open.append("\(path)/\(entry.name)") }
      }
    }
    return found
  }

  /// Connects to every shim that answers, some at a time.
  private func connect(_ pods: [FoundPod]) async -> [FoundPod] {
    let directory = environment.configuration.podsDirectory
    return await withTaskGroup(of: FoundPod.self) { group in
      var waiting = pods[...]
      var done: [FoundPod] = []
      func startNext() {
        guard var pod = waiting.popFirst() else { return }
        group.addTask {
          guard let shim = try? await Shim.connect(podID: pod.record.id, directory: "\(directory)/\(pod.record.id)"),
            let containers = try? await shim.state()
          else { return pod }
          pod.shim = shim
          pod.shimContainers = containers
          return pod
        }
      }
      for _ in 0..<RuntimeBounds.recoveriesMax { startNext() }
      while let pod = await group.next() {
        done.append(pod)
        startNext()
      }
      return done
    }
  }

  private func removeStrays(_ known: Set<String>) async throws(RuntimeError) -> Int {
    let directory = environment.configuration.containersDirectory
    do throws(SyscallError) {
      let strays = try Directory(path: directory).list().map(\.name).filter { !known.contains($0) }
      try await onFreshThread { () throws(SyscallError) in
        for name in strays { try Files.removeTree("\(directory)/\(name)") }
      }
      return strays.count
    } catch {
      throw RuntimeError(.failed, stage: "remove stray layers", subject: directory, cause: error)
    }
  }
}
