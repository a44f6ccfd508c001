using System.CommandLine;
using AfaNative.Kernels.Devices;
using AfaNative.Kernels.Devices.Ilgpu;
using AfaNative.Kernels.MatrixMultiply;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native devices</c>: what can be written after --device here, and why something cannot.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        var command = new Command("devices", "Lists the devices of this machine, and says why one cannot be used.");
        command.SetAction(_ =>
        {
            Terminal.Result(
                $"{"cpu", -14} {Environment.ProcessorCount} threads, {RegisterTile.Best} "
                    + $"kernels{(CpuDevice.SupportsBFloat16 ? ", bfloat16 products" : "")}"
            );
            Terminal.Result(
                $"{"cpu-plain", -14} the same without paired products: the same bits on any processor with fused multiply-add"
            );
            Terminal.Result($"{"cpu-reference", -14} plain loops on one thread, what the others are checked against");
            foreach (DeviceDescription device in IlgpuDevice.List())
                Terminal.Result(
                    $"{device.Name, -14} "
                        + $"{device.Description}{(device.Unusable is null ? "" : $": not usable, {device.Unusable}")}"
                );
        });
        return command;
    }
}
