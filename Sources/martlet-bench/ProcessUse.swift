import Kernel

/// What processes take, from /proc.
enum ProcessUse {
  /// /proc counts CPU time in hundredths of a second on every architecture.
  private static let microsecondsPerTick = 10_000.0

  /// User and system time of all threads so far.
  static func cpuMicroseconds(_ process: Int32) throws -> Double {
    // The name, in brackets, may hold anything: fields are counted after its end.
    let fields = (try Files.readText("/proc/\(process)/stat") ?? "").split(separator: ")").last?.split(separator: " ")
    guard let fields, fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else {
      throw BenchError("process \(process) has ended; its log says why")
    }
    return (user + system) * microsecondsPerTick
  }

  /// The most that was ever resident, in kilobytes.
  static func peakResidentKilobytes(_ process: Int32) throws -> Int {
    for line in (try Files.readText("/proc/\(process)/status") ?? "").split(separator: "\n") {
      let fields = line.split { $0 == " " || $0 == "\t" }
      if fields.first == "VmHWM:", fields.count > 1, let kilobytes = Int(fields[1]) { return kilobytes }
    }
    throw BenchError("process \(process) has ended; its log says why")
  }

  /// Every process that this one sees, with its parent and its command line.
  static func all() throws -> [(id: Int32, parent: Int32, arguments: [String])] {
    try Directory(path: "/proc").list().compactMap { entry in
      guard let id = Int32(entry.name), let stat = try? Files.readText("/proc/\(id)/stat"),
        let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 1,
        let parent = Int32(fields[1]), let bytes = try? Files.read("/proc/\(id)/cmdline")
      else { return nil }
      return (id, parent, bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
    }
  }
}

func megabytes(kilobytes: Int) -> Double { Double(kilobytes) * 1024 / 1e6 }
