using AfaNative.Kernels.Devices;

namespace AfaNative.Kernels.MatrixMultiply;

/// <summary>
/// The blocked multiply behind linear layers and convolutions. A task is a block of rows times a range of panels of one expert; its sums stay in
/// the worker's scratch until the last block of K, then the epilogue writes them out. K is cut by its length alone and summed in order, so a result
/// depends neither on the number of threads nor on the batch.
/// </summary>
internal static unsafe class MatrixMultiplySimd
{
    private const int RowBlock = 240;   // rows of A copied at once: 20 tiles, about 260 KiB in the second-level cache
    private const int PanelBlock = 10;  // panels a task finishes: its sums are 240 x 320 floats
    private const int CopyRows = 8;     // rows on their way to a narrower type: in the first-level cache

    /// <summary>y[e, m, n] = epilogue(sum_k rows[e, m, k] panels[e][k, n]).</summary>
    public static void Run<TProduct, TRows, TPanels>(WorkerPool pool, TProduct product, TRows rows, int experts, int m, TPanels weights, in EpilogueArguments epilogue)
        where TProduct : struct, IProduct
        where TRows : struct, IRowSource
        where TPanels : struct, IPanelSource
    {
        if (m == 0) return;
        int k = weights.Terms, panels = weights.Panels;
        int kBlock = BlockOfTerms(k, product.Block);
        int rowBlocks = (m + RowBlock - 1) / RowBlock;
        int rowBlock = Math.Min(RowBlock, ((m + rowBlocks - 1) / rowBlocks + RegisterTile.MaxRows - 1) / RegisterTile.MaxRows * RegisterTile.MaxRows);
        rowBlocks = (m + rowBlock - 1) / rowBlock;
        int panelBlock = Math.Min(PanelBlock, panels);
        while (panelBlock > 1 && experts * rowBlocks * ((panels + panelBlock - 1) / panelBlock) < 4 * pool.Threads) panelBlock = (panelBlock + 1) / 2;
        int panelBlocks = (panels + panelBlock - 1) / panelBlock;
        var job = new Job<TProduct, TRows, TPanels>(product, rows, weights, epilogue, m, k, kBlock, rowBlock, panels, panelBlock);
        pool.Run(experts * rowBlocks * panelBlocks, (task, worker) =>
        {
            int expert = task / (rowBlocks * panelBlocks), rest = task - expert * rowBlocks * panelBlocks;
            // Neighbouring tasks share their weights' panels: rows run fastest.
            job.Execute(pool.Scratch(worker), expert, rest % rowBlocks, rest / rowBlocks);
        });
    }

    /// <summary>Terms of the blocks that <paramref name="k"/> terms are cut into, at most <paramref name="most"/> each.</summary>
    public static int BlockOfTerms(int k, int most)
    {
        // Whole vectors of terms, so that panels read the other way round are cut where their storage is.
        int blocks = (k + most - 1) / most;
        return ((k + blocks - 1) / blocks + 15) & ~15;
    }

    private readonly struct Job<TProduct, TRows, TPanels>(TProduct product, TRows rows, TPanels weights, EpilogueArguments epilogue, int m, int k, int kBlock, int rowBlock, int panels, int panelBlock)
        where TProduct : struct, IProduct
        where TRows : struct, IRowSource
        where TPanels : struct, IPanelSource
    {
        public void Execute(Scratch scratch, int expert, int rowIndex, int panelIndex)
        {
            int row0 = rowIndex * rowBlock, height = Math.Min(rowBlock, m - row0);
            int panel0 = panelIndex * panelBlock, width = Math.Min(panelBlock, panels - panel0);
            // A cache line between rows: powers of two would all fall into one set.
            int stride = (product.Packed(kBlock) + 15 & ~15) + 16;
            int panelFloats = product.PanelRows(kBlock) * 32;
            float* a = scratch.Floats((long)rowBlock * stride + panelFloats + (long)rowBlock * panelBlock * 32 + CopyRows * (kBlock + 16));
            float* widened = a + (long)rowBlock * stride;
            float* sums = widened + panelFloats;
            float* copies = sums + (long)rowBlock * panelBlock * 32;
            int tiles = (height + product.Rows - 1) / product.Rows;
            for (int k0 = 0; k0 < k; k0 += kBlock)
            {
                int count = Math.Min(kBlock, k - k0);
                bool last = k0 + count == k;
                float* left = rows.InPlace(expert, row0, k0, out int aStride);
                if (left == null || !product.Plain)
                {
                    Pack(left, aStride, expert, row0, height, k0, count, a, stride, copies);
                    left = a;
                    aStride = stride;
                }

                for (int p = 0; p < width; p++)
                {
                    float* panel = product.Panel(weights, expert, panel0 + p, k0, count, widened);
                    // The next panel comes from memory while this one is multiplied.
                    int next = p + 1 < width ? panel0 + p + 1 : panel0, k1 = p + 1 < width ? k0 : k0 + count, following = Math.Min(kBlock, k - k1);
                    for (int r = 0; r < height; r += product.Rows)
                    {
                        int n = Math.Min(product.Rows, height - r);
                        float* c = sums + ((long)p * rowBlock + r) * 32;
                        if (following > 0) weights.Prefetch(expert, next, k1, following, r / product.Rows, tiles);
                        if (last) epilogue.Prefetch(n, expert, row0 + r, panel0 + p);
                        product.Multiply(left + (long)r * aStride, aStride, n, panel, count, c, k0 > 0);
                        if (last) epilogue.Store(c, n, expert, row0 + r, panel0 + p);
                    }
                }
            }
        }

        private void Pack(float* inPlace, int inPlaceStride, int expert, int row0, int height, int k0, int count, float* a, int stride, float* copies)
        {
            if (inPlace != null)
            {
                product.PackRows(inPlace, inPlaceStride, height, count, a, stride);
                return;
            }

            if (product.Plain)
            {
                rows.Copy(expert, row0, height, k0, count, a, stride);
                return;
            }

            for (int r = 0; r < height; r += CopyRows)
            {
                int n = Math.Min(CopyRows, height - r);
                rows.Copy(expert, row0 + r, n, k0, count, copies, kBlock + 16);
                product.PackRows(copies, kBlock + 16, n, count, a + (long)r * stride, stride);
            }
        }
    }
}
